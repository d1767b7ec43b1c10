"""Messages to users: a warning names the user's line that caused it, or none on the command line."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import typer
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from deap_hpo.commands.exits import reporting
from deap_hpo.errors import DeapHPOWarning, FailureNotice, different_genes, warn
from deap_hpo.interruption import undisturbed
from deap_hpo.optimization import optimize
from deap_hpo.search_cv import EvolutionSearchCV
from deap_hpo.search_space.space import Float

SPACE = {"x": Float(0, 1)}


def fails_once(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    if params["x"] == 0:
        raise RuntimeError("x = 0")
    checkpoint.save({"x": params["x"]})
    return float(params["x"])


@pytest.mark.parametrize("algorithm", ["truncation", "random", "cma", "pbt"])
def test_a_warning_points_at_the_users_line_whatever_led_there(algorithm: str) -> None:
    options: Any = {"algorithm": algorithm, "population": 4, "generations": 2, "epochs": 2}
    with pytest.warns(DeapHPOWarning, match="evaluation 0 of the study 'study' failed") as warned:
        optimize(fails_once, SPACE, enqueue=[{"x": 0.0}], **options)
    assert {(one.filename, type(one.message)) for one in warned} == {(__file__, FailureNotice)}


def test_so_it_does_through_decorators_and_scikit_learn() -> None:
    @undisturbed()
    def decorated() -> None:
        warn("decorated")

    # A C below 0 is refused.
    search = EvolutionSearchCV(SVC(), {"C": Float(-1.0, 1.0)}, population=6, generations=1, random_state=0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        decorated()
        search.fit(*load_iris(return_X_y=True))
    ours = [one for one in warned if issubclass(one.category, DeapHPOWarning)]
    assert [str(one.message).split()[0] for one in ours][:2] == ["decorated", "evaluation"]
    assert {one.filename for one in ours} == {__file__}


def test_they_can_be_made_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeapHPOWarning)
        with pytest.raises(DeapHPOWarning, match=r"^something is odd$"):
            warn("something is odd")


def test_a_command_says_them_as_a_sentence_and_leaves_others_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with reporting(debug=False):
            warn("[a] file is odd")
            warn("is it odd?")
            warnings.warn("a user's own", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: [a] file is odd.\nWarning: is it odd?\n"
    assert [str(one.message) for one in others] == ["a user's own"]
    with pytest.raises(typer.Exit), reporting(debug=False):
        raise KeyboardInterrupt
    assert warnings.showwarning is before


@pytest.mark.parametrize(
    ("recorded", "given", "told"),
    [
        ((0.5, 1.0), (0.5,), ("genes (0.5, 1.0)", "(0.5,)")),
        ((0.0,) * 100, (0.0,) * 57 + (1.0,) * 43, ("gene_57 = 0.0", "gene_57 = 1.0")),
        ((math.nan,) * 100, (math.nan,) * 99 + (0.0,), ("gene_99 = nan", "gene_99 = 0.0")),
        ((0.0,) * 100, (0.0,) * 90, ("number of genes 100", "90; the first 90 are the same")),
        (
            ("x" * 500,),
            ("x" * 300 + "y" * 200,),
            (f"gene_0 = ...{'x' * 100}...", f"gene_0 = ...{'x' * 50}{'y' * 50}..."),
        ),
    ],
)
def test_a_difference_between_long_genomes_can_be_seen(recorded: Any, given: Any, told: tuple[str, str]) -> None:
    assert different_genes(recorded, given) == told
