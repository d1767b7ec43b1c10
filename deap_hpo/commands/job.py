"""A run from the command line: evolve, train the best network again, draw, and print the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from deap_hpo.__main__ import evolve
from deap_hpo.analysis.edges import edge_sentence
from deap_hpo.analysis.names import value_name
from deap_hpo.best import Final, finish
from deap_hpo.budget import BudgetSpent
from deap_hpo.commands.exits import errors, output
from deap_hpo.commands.plan import plan
from deap_hpo.configuration.assembly import make_task, trainer_of
from deap_hpo.configuration.config import RunConfig
from deap_hpo.configuration.workload import workload
from deap_hpo.progress import ProgressDisplay
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.run_files import network_stem, run_folder
from deap_hpo.records.storage import storage_option, without_password
from deap_hpo.reports.strict_json import strict_json
from deap_hpo.reports.study import (
    counts_sentence,
    describe,
    failure_sentence,
    print_front,
    tie_sentence,
    where_sentence,
)
from deap_hpo.wording import format_metrics, format_params, format_seconds, format_value, plural


def run_job(config: RunConfig, *, resume: bool, retry_failed: bool, as_json: bool) -> None:
    """Run a configuration to its end, and print the result.

    Raises:
        InputError: Something in the configuration cannot be used.
    """
    name, storage = str(config.study.name), config.study.storage
    trainer = trainer_of(make_task(config), config)
    evolution = config.evolution
    go_on = f"deap-hpo resume {name}{storage_option(storage)} --set "
    ended_by: str | None = "evolution.generations"  # the setting to raise for more training
    try:
        work = workload(config.search_space, evolution, epochs=trainer.epochs, seed=config.study.seed)
        with ProgressDisplay(work, lines=as_json) as progress:  # without JSON, the logbook has the lines
            evolve(
                config,
                trainer,
                resume=resume,
                retry_failed=retry_failed,
                callbacks=[progress],
                verbose=not as_json,
            )
    except BudgetSpent as stop:
        section = "execution" if stop.limit == "max_seconds" else "evolution"
        ended_by = None if stop.limit == "space" else f"{section}.{stop.limit}"
        advice = f" Continue with: {go_on}{ended_by}=N" if ended_by else ""
        errors.print(f"{escape(str(stop))}{advice}", soft_wrap=True)
    folder = run_folder(name, storage)
    recorded = load_study(name, storage)
    if failure := failure_sentence(recorded):
        errors.print(escape(failure))
    final = finish(trainer, recorded, folder)
    recorded = load_study(name, storage)
    from deap_hpo.reports.figures import save_figures  # imports matplotlib, which a dry run does without

    # Figures that `plot` has drawn before are drawn again, so that all show the same evaluations.
    pdf, impact = (folder / "history.pdf").exists(), (folder / "importances.png").exists()
    figures = save_figures(recorded, folder, pdf=pdf, impact=impact)
    if as_json:
        output.print_json(strict_json(describe(recorded)))
    else:
        network = str(folder / f"{network_stem()}.safetensors")
        if trainer.task.data.normalizes:
            export = f"deap-hpo export {name}{storage_option(storage)}"
            network += f" (it expects normalised inputs; {export} writes it with its normalisation)"
        _print_final(recorded, final, network, figures)
        if ended_by:
            output.print(f"  [bold]{'go on':<10}[/bold] {escape(go_on)}{ended_by}=N")


def _print_final(recorded: Recorded, final: Final, network: str, figures: list[Path]) -> None:
    storage = str(recorded.storage)
    several = len(recorded.directions) > 1
    by = f", by {value_name(recorded)}" if several else ""
    part = recorded.part_of_training(recorded.best)
    validation = {"validation": format_metrics({"loss": final.validation_loss, **final.validation_metrics})}
    if trainings := final.trainings:
        spread = [
            f"{format_metrics({name: mean})} ± {format_value(trainings['std'][name])}"
            for name, mean in trainings["mean"].items()
        ]
        validation = {
            "validation": f"{', '.join(spread)} (mean ± standard deviation of {trainings['count']} {trainings['of']})",
            f"first {trainings['of'][:-1]}": f"{validation['validation']} (the network that is tested and saved)",
        }
    rows = {
        "best": f"evaluation {final.number}{by}{part and f', {part}'}: {format_params(final.params)}",
        **validation,
        "test": f"{format_metrics({'loss': final.test_loss, **final.test_metrics})} "
        f"({final.test_size:,} examples that the search has not seen)"
        if final.test_loss is not None
        else "none: the task has no test examples",
        "record": f"{without_password(storage)}, study {recorded.name}",
        "network": network,
        "figures": ", ".join(str(path) for path in figures if path.suffix == ".png"),
        "look": f"deap-hpo show {recorded.name}{storage_option(storage)}",
    }
    output.print(f"\n{counts_sentence(recorded)} {where_sentence(recorded)}", soft_wrap=True)
    if several:
        print_front(recorded, output)
    if sentence := tie_sentence(recorded):
        output.print(sentence, markup=False)
    if sentence := edge_sentence(recorded):
        output.print(escape(sentence))
    for label, text in rows.items():
        output.print(f"  [bold]{label:<10}[/bold] {escape(text)}")


def print_plan(config: RunConfig, *, as_json: bool) -> None:
    """Print what a run would cost.

    Raises:
        InputError: Something in the configuration cannot be used.
    """
    made = plan(config, trainer_of(make_task(config), config))
    if as_json:
        output.print_json(strict_json(asdict(made)))
        return
    repeats = f"{made.repeats} trainings of " if made.repeats > 1 else ""
    longest = plural(made.longest, "epoch")
    each = longest if made.shortest == made.longest else f"{made.shortest} to {longest}"
    each_stage = ", one for each stage of a training" if "stages" in made.ends_early else ""
    total = "at most" if made.ends_early else "in all"
    about = "At most about" if made.ends_early else "About"
    output.print(
        f"At most {plural(made.evaluations, 'evaluation')}{each_stage}, of {repeats}{each} each: "
        f"{plural(made.epochs, 'epoch')} {total}; {made.workers} side by side, in {made.precision}.\n"
        f"{made.training_images:,} training images and {made.validation_images:,} validation images {total}.\n"
        f"{about} {format_seconds(made.seconds)}, going by a short training on this machine just now."
    )
    if made.ends_early:
        evolution = config.evolution
        stages = evolution.stages[:-1]
        ended = f"{' or '.join(map(str, stages))} epoch{'' if stages == [1] else 's'}"
        reasons = {
            "target": f"the target {evolution.target} is reached",
            "patience": f"nothing gets better for {plural(evolution.patience or 0, 'generation')}",
            "stages": f"trainings are ended after {ended}",
            "training.patience": f"a training has no better epoch for {plural(config.training.patience or 0, 'epoch')}",
        }
        output.print(f"Less where {', or where '.join(reasons[name] for name in made.ends_early)}.")
