"""What a study has found: its best evaluation, its trials as a table, its trained network, itself as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from deap_hpo.entries import Entry, best_entry, params_of, schedule_of
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.record import Record
from deap_hpo.space import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import nn

_ROWS = 5  # best evaluations in the HTML of a study


class Results:
    """The part of a study that is asked after a run; names are Optuna's."""

    space: Space | None
    seed: int
    directions: tuple[Direction, ...]
    record: Record
    evaluator: Any = None

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.record.name

    @property
    def best(self) -> Entry:
        """The feasible evaluation with the best first objective; the earliest among equals.

        Raises:
            InputError: No evaluation has a finite value and keeps its constraints.
        """
        return best_entry(self.record, self.directions[0])

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

        return pareto_front(self.record, self.directions)

    def hypervolumes(self, reference: Sequence[float] | None = None) -> list[float]:
        """Give the hypervolume of the front after each generation; see `deap_hpo.analysis.fronts.hypervolumes`.

        Args:
            reference: A value of each objective; by default the worst feasible one on record.

        Raises:
            InputError: The reference point has another number of values.
        """
        from deap_hpo.analysis.fronts import hypervolumes

        return hypervolumes(list(self.record), self.directions, reference)

    def best_model(self) -> nn.Module:
        """Train the best network again and give it; see `model_of`.

        It is your own module, and sees what it saw in training: normalised inputs, unless the task's data leave them as
        they are. So it takes two lines to use it, the second of which normalises::

            network = study.best_model()
            outputs = network(task.data.prepare(inputs))  # inputs of the type that task.data.training has

        To give it to others, with its normalisation: `deap_hpo.training.program.save_program`.

        Raises:
            InputError: No evaluation is feasible, or what evaluates is not a trainer of this package.
        """
        return self.model_of(self.best)

    def model_of(self, entry: Entry) -> nn.Module:
        """Train the network of an evaluation again, such as one of the front, and give it in evaluation mode.

        On a CPU it is bit for bit the one that was evaluated (of several repeats, the first). It expects inputs that
        `task.data.prepare` has normalised; see `best_model`.

        Raises:
            InputError: What evaluates is not a trainer of this package.
        """
        from deap_hpo.training.schedule import train_schedule

        trainer = self._trainer()
        if self.space is None:
            raise InputError("A network needs a study with a space: without one, hyperparameters have no names.")
        return train_schedule(trainer, schedule_of(self.record, entry.number, self.space), entry.seed)[0]

    def test_metrics(self) -> dict[str, float]:
        """Train the best network again, and measure loss and metrics on the test examples, which no search has seen.

        Raises:
            InputError: There are no test examples, or as for `best_model`.
        """
        trainer = self._trainer()
        if trainer.data.test is None:
            raise InputError("test_metrics() needs test examples, and the task's data have none.")
        loss, metrics = trainer.measure(self.best_model(), trainer.data.test)
        return {"loss": loss, **metrics}

    def _trainer(self) -> Any:
        trainer = getattr(self.evaluator, "reference", self.evaluator)
        if not hasattr(trainer, "train"):
            raise InputError(
                "The best network can be had from a study whose evaluations were trainings (`make_trainer`) and that "
                f"was run, or resumed, in this process; its evaluator is {self.evaluator!r}. best_params has the "
                "hyperparameters."
            )
        return trainer

    def trials_dataframe(self) -> pd.DataFrame:
        """Give one row for each evaluation; see `deap_hpo.analysis.tables.trials_table` for the columns."""
        from deap_hpo.analysis.tables import trials_table

        return trials_table(list(self.record), self.space, self.directions[0])

    def _repr_html_(self) -> str:
        """Show the study in a notebook: how much was done, and the best evaluations."""
        from deap_hpo.analysis.tables import best_trials

        trials = self.trials_dataframe()
        seed = f"seed {self.seed}, {self.directions[0]}"
        if trials.empty:
            return f"<p><b>{escape(self.name)}</b> ({seed}): no evaluations yet.</p>"
        statuses = trials["status"].value_counts()
        cached = int(trials["duplicate_of"].notna().sum())
        counts = [f"{len(trials)} evaluations in {trials['generation'].nunique()} generations"]
        counts += [f"{cached} cached"] if cached else []
        counts += [f"{count} {status}" for status, count in statuses.items() if status != "ok"]
        best = best_trials(trials, self.directions[0])
        several = [name for name in trials.columns if name.startswith("values_")]
        if several:
            best = best[best["number"].isin([entry.number for entry in self.pareto_front()])]
        names = [name for name in trials.columns if name.startswith(("params_", "gene_", "metrics_"))]
        shown = best.head(_ROWS)[["number", "generation", *(several or ["value"]), *names]].rename(
            columns=lambda name: name if name in several else name.split("_", 1)[-1]
        )
        table = shown.to_html(index=False, border=0, float_format="{:.4g}".format) if len(best) else ""
        return f"<p><b>{escape(self.name)}</b> ({seed}): {', '.join(counts)}.</p>{table}"
