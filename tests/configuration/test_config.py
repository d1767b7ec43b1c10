"""Configuration: presets, files, overrides, and the messages for mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deap_hpo.configuration.assembly import make_task
from deap_hpo.configuration.config import RunConfig, check_overrides, load_config, make_config, preset_names
from deap_hpo.configuration.settings import applying, enough_generations
from deap_hpo.errors import InputError

PAPER = {
    "baseline": (20, 5, 0.1),
    "run_1": (10, 3, 0.1),
    "run_2": (5, 2, 0.1),
    "run_3": (5, 2, 0.2),
    "run_4": (5, 5, 0.2),
}


def test_every_preset_loads() -> None:
    assert set(preset_names()) == {"pbt", "quick", *(f"paper/{name}" for name in PAPER)}
    for name in preset_names():
        config = load_config(name)
        assert config.study.name == name.replace("/", "-")
        assert list(config.search_space) == ["lr", "momentum", "weight_decay"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets_hold_the_papers_values(name: str) -> None:
    config = load_config(f"paper/{name}")
    evolution = config.evolution
    assert (evolution.population, evolution.generations, evolution.indpb) == PAPER[name]
    assert (evolution.algorithm, evolution.cxpb, evolution.mutpb) == ("truncation", 1.0, 1.0)
    bounds = {key: (one.low, one.high, one.log) for key, one in config.search_space.items()}  # type: ignore[union-attr]
    assert bounds == {"lr": (1e-4, 1.0, False), "momentum": (0.0, 0.9, False), "weight_decay": (0.0, 0.1, False)}
    assert (config.task.training_size, config.task.validation_size) == (50_000, 10_000)
    assert config.training.recipe == {
        "optimizer": "sgd", "batch_size": 64, "schedule": "step", "step_size": 1, "gamma": 0.7,
    }  # fmt: skip


def test_overrides_are_read_as_toml_and_else_as_text() -> None:
    config = load_config(
        "quick", ["study.seed=7", "training.device=cpu", "space.lr.low=0.01", "task.arguments={dropout = 0.1}"]
    )
    assert (config.study.seed, config.training.device, config.space["lr"]["low"]) == (7, "cpu", 0.01)
    assert config.task.arguments == {"dropout": 0.1}


def test_overrides_leave_the_given_data_alone() -> None:
    data = load_config("quick").model_dump(mode="json")
    make_config(data, ["space.lr.low=0.01"])
    assert data == load_config("quick").model_dump(mode="json")


def test_a_file_is_a_preset_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[evolution]\npopulation = 4\n[space]\nlr = { type = 'float', low = 0.1, high = 0.2 }\n")
    config = load_config(str(path))
    assert config.evolution.population == 4
    assert config.study.name == "mine"


def test_a_misspelt_section_is_told_before_the_one_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[spaces]\nlr = { type = 'float', low = 0.1, high = 0.2 }\n")
    with pytest.raises(InputError, match=r"^spaces is not a setting. Did you mean 'space'\?$"):
        load_config(str(path))
    path.write_text("[evolution]\npopulation = 4\n")
    with pytest.raises(InputError, match=r"^space must be given\.$"):
        load_config(str(path))


def test_a_configuration_survives_json() -> None:
    config = load_config("quick")
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_identity_leaves_out_what_does_not_change_results() -> None:
    first = load_config("quick").identity()
    same = ["evolution.generations=9", "execution.workers=1", "task.data_dir=/data", "study.name=other"]
    assert load_config("quick", same).identity() == first
    for other in ("evolution.population=8", "task.training_size=10", "evolution.algorithm=tpe"):
        assert load_config("quick", [other]).identity() != first


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evolution.population=0", "evolution.population must be at least 1; got 0."),
        ("evolution.popluation=8", "evolution.popluation is not a setting. Did you mean 'population'?"),
        ("evolution.max_seconds=3", "evolution.max_seconds is not a setting; execution.max_seconds is."),
        ("generations=3", "generations is not a setting; evolution.generations is."),
        ("evolution.algorithm=TPE", "evolution.algorithm has no 'TPE'. Did you mean 'tpe'?"),
        ("evolutoin.population=8", "evolutoin is not a setting. Did you mean 'evolution'?"),
        ("evolution.indpb=1.5", "evolution.indpb must be at most 1; got 1.5."),
        ("space.lr.low=2.0", "space.lr: low must be at most high; got low=2.0, high=0.3."),
        ("space.lr.low=0", "space.lr: low must be greater than 0 on a logarithmic scale; got low=0"),
        ("space.lr.lwo=1", "space.lr: unknown key 'lwo' (did you mean 'low'?)"),
        ("space={}", "space"),
        ("training.epochs=many", "training.epochs must be a number, not a text; got 'many'"),
        (
            "evolution.algorithm=xyz",
            "evolution.algorithm has no 'xyz'. There are: truncation, pbt, nsga-ii, nsga-iii, cma",
        ),
        ("evolution.algorithm=randm", "evolution.algorithm has no 'randm'. Did you mean 'random'?"),
        ("evolution.population", "--set needs SECTION.KEY=VALUE"),
        ("study.seed.x=1", "study.seed"),
        ("evolution.generations=true", "evolution.generations must be a number, not true or false; got True."),
        ("evolution.patience=true", "evolution.patience must be a number, not true or false; got True."),
        ("evolution.indpb=false", "evolution.indpb must be a number, not true or false; got False."),
        ("evolution.target=true", "evolution.target must be a number, not true or false; got True."),
        ("execution.timeout=true", "execution.timeout must be a number, not true or false; got True."),
        (
            "evolution.stages=[true, 3]",
            "evolution.stages must be a list of numbers, not true or false; got [True, 3].",
        ),
    ],
)
def test_mistakes_are_named_by_their_field(override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("quick", [override])
    assert said in str(caught.value)


def test_true_and_false_are_taken_where_they_are_meant() -> None:
    config = load_config("quick", ["study.common_random_numbers=false", "training.recipe={nesterov=true}"])
    assert (config.study.common_random_numbers, config.training.recipe) == (False, {"nesterov": True})


def test_what_won_is_the_default() -> None:
    space = {"lr": {"type": "float", "low": 0.1, "high": 0.2}}
    assert make_config({"space": space}).evolution.algorithm == "surrogate"
    assert load_config("quick").evolution.algorithm == "surrogate"


def test_the_genetic_algorithm_needs_two_parents() -> None:
    said = "evolution.population must be at least 4, so that there are two parents; got 3."
    with pytest.raises(InputError, match=re.escape(said)):
        load_config("paper/baseline", ["evolution.population=3"])
    assert load_config("quick", ["evolution.population=3"]).evolution.algorithm == "surrogate"


def test_the_genetic_algorithm_has_settings_rather_than_arguments() -> None:
    said = "evolution.arguments: truncation has settings instead (cxpb, mutpb, ...); got {'cxpb': 0.5}."
    with pytest.raises(InputError, match=re.escape(said)):
        load_config("paper/baseline", ["evolution.arguments.cxpb=0.5"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["evolution.mutpb=0.3"], "evolution.mutpb is a setting of truncation, and does nothing with"),
        (["evolution.mutation=self-adaptive"], "evolution.mutation is a setting of truncation"),
        (["evolution.algorithm=pbt", "evolution.indpb=0.3"], "'pbt', whose own settings are evolution.arguments"),
        (
            ["evolution.stopping=halving"],
            "evolution.stopping decides which trainings end at a stage; without stages it does nothing",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_overrides(load_config("quick", overrides), overrides)


@pytest.mark.parametrize("override", ['evolution={algorithm="tpe"}', "evolution.algorithm=truncation"])
def test_what_does_something_is_not(override: str) -> None:
    check_overrides(load_config("quick", [override]), [override])


def test_settings_of_another_algorithm_may_stand_in_a_file() -> None:
    assert load_config("paper/run_4", ["evolution.algorithm=tpe"]).evolution.algorithm == "tpe"
    changed = ["evolution.algorithm=truncation", "evolution.mutpb=0.3", "evolution.stages=[1,2]"]
    evolution = load_config("quick", [*changed, "evolution.stopping=halving"]).evolution
    assert (evolution.mutpb, evolution.stopping) == (0.3, "halving")


@pytest.mark.parametrize(
    ("evolution", "generations"),
    [
        ({}, 10),
        ({"max_evaluations": 200}, enough_generations(200)),
        ({"max_evaluations": 200, "generations": 201}, enough_generations(200)),  # as earlier versions recorded it
        ({"max_epochs": 90}, enough_generations(90)),
        ({"max_evaluations": 200, "generations": 4}, 4),
    ],
)
def test_without_generations_a_budget_is_used_up(evolution: dict[str, int], generations: int) -> None:
    space = {"lr": {"type": "float", "low": 0.1, "high": 0.2}}
    config = make_config({"space": space, "evolution": evolution})
    assert config.evolution.generations == generations
    assert make_config(config.model_dump(mode="json")) == config, "as a record holds it"
    raised = make_config(config.model_dump(mode="json"), ["evolution.max_evaluations=500"])
    assert raised.evolution.generations == (generations if generations in (4, 10) else enough_generations(500))


def test_a_budget_out_of_range_is_named_itself() -> None:
    space = {"lr": {"type": "float", "low": 0.1, "high": 0.2}}
    with pytest.raises(InputError, match=r"evolution\.max_evaluations must be at least 1; got 0"):
        make_config({"space": space, "evolution": {"max_evaluations": 0}})


def test_a_file_without_its_ending_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("")
    with pytest.raises(InputError, match=r"no preset 'mine' .* Did you mean the file mine\.toml\?"):
        load_config("mine")


@pytest.mark.parametrize("source", [".", "/", "", "..", "~"])
def test_a_folder_is_no_configuration(source: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"There is no preset {source!r} (a file ends in .toml")):
        load_config(source)


def test_a_file_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.toml").write_text(
        '[task]\ndata = "digits"\n[space]\nlr = {type = "float", low = 0.1, high = 1.0}'
    )
    assert load_config("~/mine.toml").task.data == "digits"
    with pytest.raises(InputError, match=r"Did you mean the file .*mine\.toml\?"):
        load_config("~/mine")


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no preset 'paper/run1' .* Did you mean 'paper/run_1'"):
        load_config("paper/run1")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.toml could not be read: No such file or directory\.$"):
        load_config(str(tmp_path / "missing.toml"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# fünf".encode("latin-1"))
    with pytest.raises(InputError, match="could not be read: 'utf-8' codec can't decode"):
        load_config(str(latin))
    broken = tmp_path / "broken.toml"
    broken.write_text("[evolution\n")
    with pytest.raises(InputError, match="is not TOML"):
        load_config(str(broken))


def test_an_editors_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    marked = tmp_path / "marked.toml"
    marked.write_text("[space]\nlr = { type = 'float', low = 0.1, high = 1.0 }\n", encoding="utf-8-sig")
    assert list(load_config(str(marked)).search_space) == ["lr"]


def test_what_was_recorded_before_is_what_a_run_without_a_validation_size_is() -> None:
    space = {"lr": {"type": "float", "low": 0.1, "high": 1.0}}
    task = applying({"source": "my_task.py:task", "validation_size": 10_000})
    recorded = make_config({"task": task, "space": space})
    assert recorded.identity() == make_config({"task": {"source": "my_task.py:task"}, "space": space}).identity()
    assert make_config({"space": space}).identity()["task"]["validation_size"] == 10_000


def test_a_number_of_validation_examples_that_is_given_is_not_taken_for_the_default() -> None:
    digits = ["task.data=digits", "task.model=mlp", "task.validation_size=10000"]
    with pytest.raises(InputError, match=r"must be at most 1500 with at least 1 each for digits; got .* and 10000"):
        make_task(load_config("paper/baseline", digits))
    made = make_config({"space": {"lr": {"type": "float", "low": 0.1, "high": 0.2}}, "task": {"data": "digits"}})
    assert made.task.validation_size is None
    assert made.identity()["task"]["validation_size"] == 10_000, "as records of before have it"
    assert applying({"data": "digits", "validation_size": 10_000}) == {"data": "digits"}
