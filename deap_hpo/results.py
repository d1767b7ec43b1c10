"""What a study has found: its best evaluation, its trials as a table, its trained network, itself as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from deap_hpo.entries import Entry, best_entry, params_of
from deap_hpo.errors import InputError, first_difference
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluator
from deap_hpo.goals import given_names, names_of_objectives
from deap_hpo.record import Record
from deap_hpo.space import Space
from deap_hpo.storage import states_folder
from deap_hpo.wording import format_cell, format_value, plural

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from deap_hpo.continuation import Continuations
    from deap_hpo.training.checkpoints import CheckpointStore
    from deap_hpo.training.reference import ReferenceTrainer
    from deap_hpo.training.trainers import Trainer

_ROWS = 5  # best evaluations in the HTML of a study
_PLACE = ("device", "precision")  # where a trainer computes: another agrees within rounding


class Results:
    """The part of a study that is asked after a run, of a `Study` as of one on record; names are Optuna's."""

    evaluator: Evaluator | None = None  # known where the study was run
    storage: str | None = None  # known where it was read from

    if TYPE_CHECKING:  # attributes or properties of a study, fields of one on record

        @property
        def name(self) -> str:
            """Name of the study in its storage."""

        @property
        def space(self) -> Space | None:
            """The search space."""

        @property
        def directions(self) -> tuple[Direction, ...]:
            """Which way is better, for each objective."""

        @property
        def entries(self) -> tuple[Entry, ...]:
            """The evaluations, by number."""

        @property
        def attributes(self) -> Mapping[str, Any]:
            """What was noted about the run."""

    @property
    def best(self) -> Entry:
        """The feasible evaluation with the best first objective; the earliest among equals.

        Raises:
            InputError: No evaluation has a finite value and keeps its constraints.
        """
        return best_entry(self.entries, self.directions[0])

    @property
    def best_params(self) -> dict[str, Any]:
        """Hyperparameters of the best evaluation."""
        return self.params_of(self.best)

    def params_of(self, entry: Entry) -> dict[str, Any]:
        """Give the hyperparameters of an evaluation by name; bare genes where the study has no space."""
        return params_of(entry, self.space)

    @property
    def best_value(self) -> float:
        """First objective of the best evaluation."""
        return self.best.evaluation.value

    def pareto_front(self) -> list[Entry]:
        """Give the feasible evaluations that no other dominates, the best first objective first."""
        from deap_hpo.analysis.fronts import pareto_front

        return pareto_front(self.entries, self.directions)

    def hypervolumes(self, reference: Sequence[float] | None = None) -> list[float]:
        """Give the hypervolume of the front after each generation; see `deap_hpo.analysis.fronts.hypervolumes`.

        Args:
            reference: A value of each objective; by default the worst feasible one on record.

        Raises:
            InputError: The reference point has another number of values.
        """
        from deap_hpo.analysis.fronts import hypervolumes

        return hypervolumes(self.entries, self.directions, reference)

    @property
    def objective_names(self) -> list[str]:
        """Names of the objectives, as the evaluator says them."""
        return names_of_objectives(self.attributes, len(self.directions))

    def best_model(self, trainer: Trainer | None = None) -> nn.Module:
        """Train the best network again and give it; see `model_of`.

        It is your own module, and sees what it saw in training: normalised inputs, unless the task's data leave them as
        they are. So it takes two lines to use it, the second of which normalises::

            network = study.best_model()
            outputs = network(task.data.prepare(inputs))  # inputs of the type that task.data.training has

        To give it to others, with its normalisation: `deap_hpo.training.program.save_program`.

        Raises:
            InputError: No evaluation is feasible, or as for `model_of`.
        """
        return self.model_of(self.best, trainer)

    def model_of(self, entry: Entry, trainer: Trainer | None = None) -> nn.Module:
        """Train the network of an evaluation again, such as one of the front, and give it in evaluation mode.

        On a CPU it is bit for bit the one that was evaluated (of several repeats, the first). It expects inputs that
        `task.data.prepare` has normalised; see `best_model`.

        Args:
            entry: The evaluation.
            trainer: What evaluated it, made as it was then (`make_trainer`), where this is another process: a record
                holds neither network nor data. It may compute on another device.

        Raises:
            InputError: What evaluated is not a trainer of this package, is not the one given, or is not known here.
        """
        from deap_hpo.retraining import retrain

        return retrain(self._trainer(trainer), entry, self.entries, self.space)[0]

    def test_metrics(self, trainer: Trainer | None = None) -> dict[str, float]:
        """Train the best network again, and measure loss and metrics on the test examples, which no search has seen.

        Args:
            trainer: See `model_of`.

        Raises:
            InputError: There are no test examples, or as for `best_model`.
        """
        trained_by = self._trainer(trainer)
        if trained_by.data.test is None:
            raise InputError("test_metrics() needs test examples, and the task's data have none.")
        loss, metrics = trained_by.measure(self.best_model(trainer), trained_by.data.test)
        return {"loss": loss, **metrics}

    def best_state(self, checkpoints: CheckpointStore | None = None) -> Any:
        """Give what the objective saved in the best evaluation; see `state_of`.

        Raises:
            InputError: No evaluation is feasible, or as for `state_of`.
        """
        return self.state_of(self.best, checkpoints)

    def state_of(self, entry: Entry, checkpoints: CheckpointStore | None = None) -> Any:
        """Give what the objective handed to `checkpoint.save` in an evaluation, its tensors on the CPU.

        A study keeps the states of the best evaluation (of several objectives, of the front), of its last batch, and of
        all that an algorithm may go on from.

        Args:
            entry: The evaluation.
            checkpoints: Where states are kept (``FolderCheckpoints(...)``); by default where `optimize` keeps them.

        Raises:
            InputError: It saved none, or what it saved is not there any more.
        """
        from deap_hpo.checkpoint import kept_states, saved_state

        folder = None if self.storage is None else states_folder(self.name, self.storage)
        checkpoints = kept_states(checkpoints, self.evaluator, folder)
        reference = self._checkpoint_of(entry)
        if checkpoints is None or reference is None:
            raise InputError(
                f"A state can be had of an evaluation whose objective called checkpoint.save(state), and is kept where "
                f"`checkpoints` says; evaluation {entry.number} of the study {self.name!r} has "
                f"{'none' if reference is None else 'one elsewhere'}."
            )
        if reference not in checkpoints:
            raise InputError(
                f"The state of evaluation {entry.number} of the study {self.name!r} is not there any more. Kept are "
                "those of the best, of the last batch, and of what an algorithm may go on from."
            )
        return saved_state(checkpoints, reference)

    def _checkpoint_of(self, entry: Entry) -> str | None:
        return entry.evaluation.checkpoint

    def _trainer(self, given: Trainer | None) -> ReferenceTrainer:
        """What trains the networks again: what is given, or what evaluated in this process."""
        from deap_hpo.training.trainers import Trainer

        recorded = self.attributes.get("evaluator") or {}
        if given is None and self.evaluator is None and "task" in recorded:
            raise InputError(
                f"The study {self.name!r} was not run in this process, and a record holds neither network nor data. "
                "Give the trainer that it was run with, as in `study.best_model(make_trainer(task, epochs=5))`; of a "
                f"run from the command line, `deap-hpo export {self.name}` writes the network."
            )
        evaluator = self.evaluator if given is None else given
        if not isinstance(evaluator, Trainer):
            raise InputError(
                "The best network can be had from a study whose evaluations were trainings (`make_trainer`), with the "
                f"trainer that did them; got {evaluator!r}. best_params has the hyperparameters."
            )
        if given is not None:
            known, now = _without_place(recorded), _without_place(json.loads(json.dumps(evaluator.settings)))
            if known != now:
                was, other = first_difference(known, now)
                raise InputError(f"trainer must be as that of the study {self.name!r}, which had {was}; got {other}.")
        return evaluator.reference

    def trials_dataframe(self) -> pd.DataFrame:
        """Give one row for each evaluation; see `deap_hpo.analysis.tables.trials_table` for the columns."""
        from deap_hpo.analysis.tables import trials_table

        return trials_table(
            self.entries,
            self.space,
            self.directions[0],
            objectives=given_names(self.attributes, len(self.directions)),
            constrained=bool((self.attributes.get("evaluator") or {}).get("constraints")),
        )

    def __repr__(self) -> str:
        """Say in a line what it is, at a prompt."""
        done = f"{plural(len(self.entries), 'evaluation')}"
        feasible = len(self.directions) == 1 and any(entry.evaluation.feasible for entry in self.entries)
        best = f", best {self.objective_names[0]} {format_value(self.best_value)}" if feasible else ""
        return f"<{type(self).__name__} {self.name!r}: {done}{best}>"

    def _repr_html_(self) -> str:
        """Show the study in a notebook: how much was done, and the best evaluations."""
        from deap_hpo.analysis.tables import best_trials, value_columns

        trials = self.trials_dataframe()
        seed = f"seed {self.attributes.get('seed')}, {self.directions[0]}"
        if trials.empty:
            return f"<p><b>{escape(self.name)}</b> ({seed}): no evaluations yet.</p>"
        statuses = trials["status"].value_counts()
        cached = int(trials["duplicate_of"].notna().sum())
        counts = [f"{plural(len(trials), 'evaluation')} in {plural(trials['generation'].nunique(), 'generation')}"]
        counts += [f"{cached} cached"] if cached else []
        counts += [f"{count} {status}" for status, count in statuses.items() if status != "ok"]
        best = best_trials(trials, self.directions[0])
        columns = value_columns(given_names(self.attributes, len(self.directions)), len(self.directions))
        if len(columns) > 1:
            best = best[best["number"].isin([entry.number for entry in self.pareto_front()])]
        told = {f"metrics_{name}" for name in self.objective_names}
        names = [
            name for name in trials.columns if name.startswith(("params_", "gene_", "metrics_")) and name not in told
        ]
        called = dict(zip(columns, self.objective_names, strict=True))
        parts = ["epochs"] if "epochs" in best else []
        shown = best.head(_ROWS)[["number", "generation", *parts, *called, *names]].rename(
            columns=lambda name: called[name] if name in called else name.split("_", 1)[-1]
        )
        table = shown.to_html(index=False, border=0, float_format=format_cell) if len(best) else ""
        return f"<p><b>{escape(self.name)}</b> ({seed}): {', '.join(counts)}.</p>{table}"


def _without_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _PLACE}


class LiveResults(Results):
    """Those of a study that may be running: they are read from its record as it grows."""

    record: Record
    space: Space | None
    directions: tuple[Direction, ...]
    _continuations: Continuations

    def _checkpoint_of(self, entry: Entry) -> str | None:
        return self._continuations.reference(entry.trained_number)

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.record.name

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The evaluations on record, by number."""
        return tuple(self.record)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was noted about the run: seed, settings, ..."""
        return self.record.attributes
