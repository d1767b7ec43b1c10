"""deap-hpo replay: train the best network of a study again from scratch, by its schedule, and compare the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deap_hpo.commands.exits import output, reporting
from deap_hpo.commands.options import DataDir, Debug, Json, Storage, StudyName, settings_of
from deap_hpo.records import DEFAULT_STORAGE

if TYPE_CHECKING:
    from torch import nn

    from deap_hpo.recorded import Recorded
    from deap_hpo.training.reference import ReferenceTrainer
    from deap_hpo.training.trainers import Trainer


def replay(
    name: StudyName,
    storage: Storage = DEFAULT_STORAGE,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the best network again from scratch, by its schedule, and say whether it is the same."""
    with reporting(debug):
        from deap_hpo.configuration.assembly import make_task, trainer_of
        from deap_hpo.configuration.config import make_config
        from deap_hpo.recorded import load_study
        from deap_hpo.reports.strict_json import strict_json

        recorded = load_study(name, storage)
        noted = recorded.config_of_network()
        given = settings_of({"study.name": name, "study.storage": storage, "task.data_dir": data_dir})
        config = make_config(noted, given)
        made = replayed(trainer_of(make_task(config), config), recorded)
        if as_json:
            output.print_json(strict_json(made))
        else:
            _print(made)


def replayed(trainer: Trainer, recorded: Recorded) -> dict[str, Any]:
    """Train the best network of a study from scratch, by the schedule that its lineage forms.

    Args:
        trainer: The trainer that evaluated it.
        recorded: The study.

    Returns:
        `evaluation` (its number), `lineage` (numbers), `seed`, `schedule` (for each part `params`, and `epochs` up to
        which they held), `recorded` (its value; with several repeats, their mean), `replayed` (the value of the network
        trained now; with several repeats, of the first), `same_weights` (whether its weights are bit for bit those of
        the checkpoint; None if there is no checkpoint).

    Raises:
        InputError: No evaluation has a finite value, or the study was made without a space.
    """
    from deap_hpo.records.entries import training_path
    from deap_hpo.retraining import retrain

    best, reference = recorded.best, trainer.reference
    model, evaluation, schedule = retrain(trainer, best, recorded.entries, recorded.space)
    return {
        "evaluation": best.number,
        "lineage": [entry.number for entry in training_path(recorded.entries, best.number)],
        "seed": best.seed,
        "schedule": [{"epochs": epochs or reference.epochs, "params": params} for params, epochs in schedule],
        "recorded": best.evaluation.value,
        "replayed": evaluation.value,
        "same_weights": _has_weights(reference, model, best.evaluation.checkpoint),
    }


def _has_weights(trainer: ReferenceTrainer, model: nn.Module, checkpoint: str | None) -> bool | None:
    import torch

    from deap_hpo.training.state import network_tensors, unpack

    if checkpoint is None or checkpoint not in trainer.checkpoints:
        return None
    weights = unpack(trainer.checkpoints.load(checkpoint))[0].weights
    return all(torch.equal(tensor.cpu(), weights[name].cpu()) for name, tensor in network_tensors(model).items())


def _print(made: dict[str, Any]) -> None:
    from deap_hpo.wording import format_params

    output.print(f"Evaluation {made['evaluation']}, by way of {', '.join(map(str, made['lineage']))}:")
    for part in made["schedule"]:
        output.print(f"  up to epoch {part['epochs']}: {format_params(part['params'])}", markup=False)
    output.print(f"value {made['replayed']!r}; on record {made['recorded']!r}")
    verdict = {
        True: "The weights are bit for bit those of its checkpoint.",
        False: "The weights are not those of its checkpoint: another device, or another version.",
        None: "There is no checkpoint of it to compare the weights with.",
    }
    output.print(verdict[made["same_weights"]])
