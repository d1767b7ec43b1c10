"""The best network of a study: trained again from its seed, measured on the test examples, saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_model

from deap_hpo.files import write_text, written_whole
from deap_hpo.recorded import Recorded, note
from deap_hpo.records.entries import Entry, best_entry, params_of
from deap_hpo.records.run_files import network_stem
from deap_hpo.retraining import retrain
from deap_hpo.training.trainers import Trainer


@dataclass(frozen=True)
class Final:
    """The measurements of a study's best network.

    Attributes:
        number: Number of the evaluation that found its hyperparameters.
        params: Its hyperparameters; the last ones, if they changed during training.
        validation_loss: Loss on the validation examples; a little too good, because the network was chosen by them.
        validation_metrics: Metrics on the validation examples.
        test_loss: Loss on the test examples, which the search has not seen; None if there are none.
        test_metrics: Metrics on the test examples.
        test_size: Number of test examples.
        epochs: Epochs after which it was measured: all, or the best one; None if that is not on record.
        trainings: If the evaluation was of several trainings, of which this network is the first: `count`, `of`
            ("folds" or "seeds"), and by name the `mean` and the `std` of their measurements; otherwise empty.
        schedule: If the hyperparameters changed during training, each with the epoch up to which they held.
    """

    number: int
    params: dict[str, Any]
    validation_loss: float
    validation_metrics: dict[str, float]
    test_loss: float | None
    test_metrics: dict[str, float]
    test_size: int
    schedule: Sequence[Sequence[Any]] = ()
    epochs: int | None = None
    trainings: Mapping[str, Any] = field(default_factory=dict)


def finish(trainer: Trainer, recorded: Recorded, folder: Path) -> Final:
    """Train the best network again, measure it on the test examples, save it, and record the measurements.

    Training again gives the same network (bit for bit on a CPU), so no evaluation has to keep its weights. If an
    evaluation has several repeats, the network is the first. If the record shows that the network in the folder is this
    one and has been measured, that measurement is given.

    Args:
        trainer: The trainer that evaluated it.
        recorded: The study, as read from its storage.
        folder: Folder for ``best.safetensors`` (the weights) and ``best.json`` (the measurements). Both have
            ``inputs``, which describes how inputs are normalised for the network; see `Data.expected_inputs`. The JSON
            file also has ``sha256``, which identifies the file of weights.

    Raises:
        InputError: No evaluation has a finite value, or the study was made without a space.
    """
    best = best_entry(recorded.entries, recorded.directions[0])
    weights = folder / f"{network_stem()}.safetensors"
    known = dict(recorded.attributes.get("final") or {})
    digest = known.pop("sha256", None)
    if digest and known["number"] == best.number and weights.exists() and digest == _sha256(weights):
        # Earlier versions did not note `trainings`.
        return replace(Final(**known), trainings=_trainings(trainer, recorded, best))
    final = train_again(trainer, recorded, best, folder / network_stem())
    facts = {**asdict(final), "sha256": _sha256(weights)}
    about = {**facts, "inputs": trainer.task.data.expected_inputs()}
    write_text(folder / f"{network_stem()}.json", json.dumps(about, indent=2) + "\n")
    assert recorded.storage is not None  # it was read from there
    note(recorded.name, recorded.storage, "final", facts)
    return final


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train_again(trainer: Trainer, recorded: Recorded, entry: Entry, path: Path) -> Final:
    """Train the network of an evaluation again, measure it on the test examples, and save it.

    Args:
        trainer: The trainer that evaluated it.
        recorded: The study.
        entry: The evaluation.
        path: Path for its weights, without the suffix ``.safetensors``; folders are created. The file's metadata have
            ``inputs``, which describes as JSON how inputs are normalised for the network.

    Raises:
        InputError: The study was made without a space, or the training did not end well.
    """
    model, evaluation, schedule = retrain(trainer, entry, recorded.entries, recorded.space)
    reference = trainer.reference
    test = reference.data.test
    test_loss, test_metrics = reference.measure(model, test) if test else (None, {})
    kept = evaluation.kept_epoch
    assert kept is not None  # it ended well
    with written_whole(path.parent / f"{path.name}.safetensors") as partial:
        save_model(model, str(partial), {"inputs": json.dumps(reference.data.expected_inputs())})
    return Final(
        number=entry.number,
        params=params_of(entry, recorded.space),
        validation_loss=kept.validation_loss,
        validation_metrics=dict(kept.metrics),
        test_loss=test_loss,
        test_metrics=test_metrics,
        test_size=len(test) if test else 0,
        schedule=schedule if len(schedule) > 1 else (),
        epochs=kept.epoch,
        trainings=_trainings(trainer, recorded, entry),
    )


def _trainings(trainer: Trainer, recorded: Recorded, entry: Entry) -> dict[str, Any]:
    """Give the mean and the standard deviation over the trainings of an evaluation, if it had several."""
    reference, evaluation = trainer.reference, entry.evaluation
    if reference.repeats == 1:
        return {}
    means = {**dict(zip(recorded.objective_names, evaluation.values, strict=True)), **evaluation.metrics}
    std = {name: means[f"{name}_std"] for name in means if f"{name}_std" in means}
    mean = {name: means[name] for name in std}
    return {"count": reference.repeats, "of": "folds" if reference.folds else "seeds", "mean": mean, "std": std}
