"""What a study has found: its best evaluation, its trials as a table, its trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluator
from deap_hpo.goals import given_names, names_of_objectives
from deap_hpo.records.configurations import best_configurations
from deap_hpo.records.entries import Entry, best_entry, params_of
from deap_hpo.records.storage import states_folder
from deap_hpo.search_space.space import Space
from deap_hpo.vocabulary import no_attribute
from deap_hpo.wording import format_value, plural

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from deap_hpo.training.checkpoints import CheckpointStore
    from deap_hpo.training.trainers import Trainer


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

    if not TYPE_CHECKING:  # for which it would have every attribute

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

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

    def best_configurations(self, count: int, space: Space | None = None) -> list[dict[str, Any]]:
        """Give the hyperparameters of the best evaluations, best first, for another study to begin with.

        Args:
            count: How many different ones, at most; at least 1.
            space: The other study's space: hyperparameters that it does not have are left out, and so are
                configurations that are outside its bounds. By default this study's own.

        Returns:
            The configurations, for ``optimize(enqueue=...)``, where hyperparameters that are new are drawn. Of several
            objectives, the first says which are the best.

        Raises:
            InputError: There is none, or the study has no space.

        Example:
            >>> from deap_hpo import Float, optimize
            >>> def loss(params):
            ...     return params["x"] ** 2 + params.get("y", 0.0) ** 2
            >>> old = optimize(loss, {"x": Float(-1.0, 1.0)}, max_evaluations=20)
            >>> wider = {"x": Float(-2.0, 2.0), "y": Float(-2.0, 2.0)}
            >>> new = optimize(loss, wider, enqueue=old.best_configurations(3), max_evaluations=20)
            >>> new.params_of(new.entries[0])["x"] == old.best_params["x"]
            True
        """
        count = check_integer("count", count, 1)
        known = space_of(self)
        wanted = known if space is None else Space.of(space)
        found = best_configurations(self.entries, known, self.directions[0], count, wanted)
        if not found:
            whose = "which has a finite value and keeps its constraints" if space is None else "in this space"
            raise InputError(f"The study {self.name!r} has no evaluation {whose}.")
        return found

    def importances(self) -> pd.DataFrame:
        """Say how important each hyperparameter is, overall and among the best evaluations.

        Returns:
            One row for each hyperparameter, the most important first: `hyperparameter`, `fanova`, `ped_anova`, which
            are shares; see `deap_hpo.analysis.importance.importances`. Of several objectives, the first counts.

        Raises:
            InputError: There are fewer than 20 evaluations, too few that differ, or the study has no space.

        Example:
            >>> from deap_hpo import Float, optimize
            >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
            >>> study = optimize(lambda params: params["x"] ** 2, space, max_evaluations=30, seed=1)
            >>> study.importances()["hyperparameter"].tolist()
            ['x', 'y']
        """
        from deap_hpo.analysis.evidence import Evidence

        return Evidence.of(self.trials_dataframe(), space_of(self), self.directions[0]).importances

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
        """Train the best network again and give it, the second time a copy; see `model_of`.

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
        from deap_hpo.retraining import reference_of, retrain

        return retrain(reference_of(self, trainer), entry, self.entries, self.space)[0]

    def test_metrics(self, trainer: Trainer | None = None) -> dict[str, float]:
        """Train the best network again, and measure loss and metrics on the test examples, which no search has seen.

        Args:
            trainer: See `model_of`.

        Raises:
            InputError: There are no test examples, or as for `best_model`.
        """
        from deap_hpo.retraining import reference_of

        trained_by = reference_of(self, trainer)
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
        from deap_hpo.functions.checkpoint import kept_states, saved_state

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
        from deap_hpo.notebook import study_html

        return study_html(self)


def space_of(study: Results) -> Space:
    """Give the search space of a study.

    Raises:
        InputError: It has none.

    Example:
        >>> from deap_hpo import Float, Study
        >>> with Study({"x": Float(0.0, 1.0)}) as study:
        ...     list(space_of(study))
        ['x']
    """
    if study.space is None:
        raise InputError(f"The study {study.name!r} has no space: its genes have neither names nor bounds.")
    return study.space
