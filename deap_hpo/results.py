"""The results of a study: its best evaluation, its front, its trials as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.goals import given_names, names_of_objectives
from deap_hpo.records.configurations import best_configurations
from deap_hpo.records.entries import Entry, best_entry, check_entry, params_of
from deap_hpo.search_space.space import Space
from deap_hpo.vocabulary import no_attribute
from deap_hpo.wording import format_value, plural

if TYPE_CHECKING:
    import pandas as pd

    from deap_hpo.running_evaluations import RunningEvaluation


class Results:
    """The results of a study, the same for a `Study` and for one on record; the names are Optuna's."""

    if TYPE_CHECKING:  # attributes or properties of a study, fields of one on record

        @property
        def name(self) -> str:
            """Name of the study in its storage."""

        @property
        def space(self) -> Space | None:
            """The search space."""

        @property
        def entries(self) -> tuple[Entry, ...]:
            """The evaluations, by number."""

        @property
        def attributes(self) -> Mapping[str, Any]:
            """The facts recorded about the run."""

        @property
        def running(self) -> tuple[RunningEvaluation, ...]:
            """The evaluations under way, by number."""

        @property
        def directions(self) -> tuple[Direction, ...]:
            """The direction of each objective."""

    if not TYPE_CHECKING:  # with `__getattr__`, type checkers would accept every attribute

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    @property
    def best(self) -> Entry:
        """The feasible evaluation with the best first objective; the earliest among equals.

        Raises:
            InputError: No evaluation has a finite value and satisfies its constraints.
        """
        return best_entry(self.entries, self.directions[0])

    @property
    def best_params(self) -> dict[str, Any]:
        """Hyperparameters of the best evaluation."""
        return self.params_of(self.best)

    def params_of(self, entry: Entry) -> dict[str, Any]:
        """Give the hyperparameters of an evaluation by name; bare genes if the study has no space."""
        return params_of(entry, self.space)

    def metrics_of(self, entry: Entry) -> dict[str, float]:
        """Give everything that an evaluation measured by name, including the objectives.

        Example:
            >>> from deap_hpo import Float, optimize
            >>> def training(params):
            ...     return {"accuracy": 1.0 - params["x"], "size": 3}
            >>> space = {"x": Float(0.0, 1.0)}
            >>> study = optimize(training, space, metric="accuracy", direction="maximize", max_evaluations=5)
            >>> sorted(study.metrics_of(study.best)), study.best.evaluation.metrics
            (['accuracy', 'size'], {'size': 3.0})
        """
        evaluation = check_entry(entry).evaluation
        return {**dict(zip(self.objective_names, evaluation.values, strict=True)), **evaluation.metrics}

    @property
    def best_value(self) -> float:
        """First objective of the best evaluation."""
        return self.best.evaluation.value

    def best_configurations(self, count: int, space: Space | None = None) -> list[dict[str, Any]]:
        """Give the hyperparameters of the best evaluations, best first, with which another study can start.

        Args:
            count: The maximum number of different configurations, at least 1.
            space: The other study's space: hyperparameters that it does not have are left out, and so are
                configurations that are outside its bounds. By default this study's own space.

        Returns:
            The configurations, for ``optimize(enqueue=...)``, where new hyperparameters are drawn. With several
            objectives, the first decides which are the best.

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
            One row for each hyperparameter, the most important first, with the columns `hyperparameter`, the shares
            `fanova` and `ped_anova`, and their spreads `fanova_std` and `ped_anova_std`; see
            `deap_hpo.analysis.importance.importances`. With several objectives, the first counts.

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
        """Give the feasible evaluations that no other one dominates, sorted by the first objective, best first."""
        from deap_hpo.analysis.fronts import pareto_front

        return pareto_front(self.entries, self.directions)

    def hypervolumes(self, reference: Sequence[float] | None = None) -> list[float]:
        """Give the hypervolume of the front after each generation; see `deap_hpo.analysis.fronts.hypervolumes`.

        Args:
            reference: A value of each objective; by default `deap_hpo.analysis.fronts.reference_point`.

        Raises:
            InputError: The reference has not one value for each objective.
        """
        from deap_hpo.analysis.fronts import hypervolumes

        return hypervolumes(self.entries, self.directions, reference)

    @property
    def evolution(self) -> Mapping[str, Any]:
        """Settings of the algorithm by name, as far as they were recorded: `algorithm`, `population`, ..."""
        noted = (self.attributes.get(where) or {} for where in ("settings", "config"))
        found = (settings.get("evolution") for settings in noted)  # the user's own settings may be of any type
        return next((one for one in found if isinstance(one, Mapping) and "algorithm" in one), {})

    @property
    def stages(self) -> int:
        """Batches of a generation: more than one if it is trained in stages."""
        return len(self._ends_of_stages) or 1

    @property
    def _ends_of_stages(self) -> Sequence[int]:
        stages = self.evolution.get("stages")  # the user's own settings may be of any type
        return stages if isinstance(stages, list) else []

    @property
    def evaluator_settings(self) -> Mapping[str, Any]:
        """Settings of the evaluator by name, as they were recorded; empty if there are none."""
        return self.attributes.get("evaluator") or {}

    @property
    def objective_names(self) -> list[str]:
        """Names of the objectives, as the evaluator gives them."""
        return names_of_objectives(self.attributes, len(self.directions))

    def part_of_training(self, entry: Entry) -> str:
        """Say after how many epochs an evaluation was measured, if that is only a part of a training; otherwise empty.

        Example:
            >>> from deap_hpo import Float, optimize
            >>> search = {"algorithm": "hyperband", "epochs": 9, "max_epochs": 30}
            >>> study = optimize(lambda params, epochs: params["x"] * epochs, {"x": Float(1.0, 2.0)}, **search)
            >>> study.part_of_training(study.best)
            'after 1 of 9 epochs'
        """
        if entry.epochs is None:
            return ""
        whole = self._whole_training or 0
        return f"after {entry.epochs} of {plural(whole, 'epoch')}" if entry.epochs < whole else ""

    @property
    def _whole_training(self) -> int | None:
        """Epochs of a whole training, if they are known; a part may be longer than a trainer's own epochs."""
        if self._ends_of_stages:
            return self._ends_of_stages[-1]
        known = self.evaluator_settings.get("epochs")
        longest = max((one.epochs or 0 for one in self.entries), default=0)
        return max(longest, known if isinstance(known, int) else 0) or None

    def trials_dataframe(self) -> pd.DataFrame:
        """Give one row for each evaluation; see `deap_hpo.analysis.tables.trials_table` for the columns."""
        from deap_hpo.analysis.tables import trials_table

        return trials_table(
            self.entries,
            self.space,
            self.directions[0],
            objectives=given_names(self.attributes, len(self.directions)),
            constrained=bool(self.evaluator_settings.get("constraints")),
            stages=self.stages,
            whole=self._whole_training,
        )

    def __repr__(self) -> str:
        """Describe the study in a line, for a prompt."""
        done = f"{plural(len(self.entries), 'evaluation')}"
        feasible = len(self.directions) == 1 and any(entry.evaluation.feasible for entry in self.entries)
        part = f" {self.part_of_training(self.best)}".rstrip() if feasible else ""
        best = f", best {self.objective_names[0]} {format_value(self.best_value)}{part}" if feasible else ""
        return f"<{type(self).__name__} {self.name!r}: {done}{best}>"

    def _repr_html_(self) -> str:
        """Show the study in a notebook: the number of evaluations, and the best of them."""
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
