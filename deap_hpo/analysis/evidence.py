"""Evaluations that show the effects of hyperparameters: enough of them, all trained equally long, and the findings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from deap_hpo.analysis.importance import importances
from deap_hpo.analysis.response import ResponseModel, asked_evaluations
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.search_space.space import Space
from deap_hpo.wording import plural

_FEWEST = 20  # evaluations below which importances are mostly noise
_FEWEST_DIFFERENT = 10  # different configurations with a value, which a model needs
_MOST = 400  # with more evaluations, their models take minutes, and eventually hours


@dataclass(frozen=True)
class Evidence:
    """Evaluations of a study that show the effects of its hyperparameters, and findings, computed once; see `of`.

    Attributes:
        trials: Rows of all of them, trained equally long.
        asked: Rows that models are fitted to: the first evaluation of each configuration, or 400 of these, drawn at
            random.
        space: The search space.
        direction: Whether lower or higher values are better.
        of_which: For captions, which of the study's evaluations they are.
        left_out: For titles, the line with the numbers of evaluations that were pruned or break a constraint, which are
            not among `asked`; empty if there are none.
    """

    trials: pd.DataFrame
    asked: pd.DataFrame
    space: Space
    direction: Direction
    of_which: str
    left_out: str = ""

    @classmethod
    def of(cls, trials: pd.DataFrame, space: Space, direction: Direction = "minimize") -> Evidence:
        """Choose them among the evaluations of a study; if trainings are in parts, only the longest.

        Args:
            trials: As returned by `deap_hpo.analysis.tables.trials_table`.
            space: The search space.
            direction: Whether lower or higher values are better.

        Raises:
            InputError: There are fewer than 20, or too few that differ.

        Example:
            >>> from deap_hpo import Float
            >>> x = np.linspace(0.0, 1.0, 30)
            >>> trials = pd.DataFrame({"params_x": x, "value": 1 + x, "status": "ok"})
            >>> evidence = Evidence.of(trials, Space({"x": Float(0.0, 1.0)}))
            >>> len(evidence.asked), evidence.importances["hyperparameter"].tolist()
            (30, ['x'])
        """
        measured = trials[trials["status"].ne("infeasible")] if len(trials) else trials
        feasible = measured[measured["violation"].eq(0)] if "violation" in measured else measured
        broken = len(asked_evaluations(measured)) - len(asked_evaluations(feasible))
        whole, of_which = feasible, ""
        if len(feasible) and "epochs" in feasible:
            longest = feasible["epochs"].max()
            whole, of_which = feasible[feasible["epochs"].eq(longest)], f", by trainings of {plural(longest, 'epoch')}"
        left_out = _left_out(len(asked_evaluations(whole, ["pruned"])), broken)
        asked = asked_evaluations(whole)
        _check_enough(asked, of_which, left_out)
        if len(asked) > _MOST:
            asked = asked.sample(_MOST, random_state=0)
            of_which += f", by {_MOST} evaluations drawn at random"
        if left_out:
            of_which += f", {left_out}"
        return cls(whole, asked, space, direction, of_which, f"\n({left_out})" if left_out else "")

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Return the importance of each hyperparameter; see `deap_hpo.analysis.importance.importances`."""
        return importances(self.asked, self.space, direction=self.direction)

    @property
    def important(self) -> list[str]:
        """Return the hyperparameters, the most important first."""
        return list(self.importances["hyperparameter"])

    @cached_property
    def model(self) -> ResponseModel:
        """Model the objective by a Gaussian process over the space."""
        return ResponseModel(self.asked, self.space)


def _left_out(pruned: int, broken: int) -> str:
    """Say how many evaluations were pruned, and how many break a constraint; empty if there are none."""
    parts = [plural(pruned, "pruned evaluation")] if pruned else []
    if broken:
        parts.append(f"{plural(broken, 'evaluation')} that break{'s' if broken == 1 else ''} a constraint")
    return f"{' and '.join(parts)} left out" if parts else ""


def _check_enough(asked: pd.DataFrame, of_which: str, left_out: str) -> None:
    finite = asked[np.isfinite(asked["value"])] if len(asked) else asked.reindex(columns=["value"])
    different = finite[[name for name in finite if name.startswith("params_")]].astype(str).drop_duplicates()
    if len(asked) < _FEWEST or len(different) < _FEWEST_DIFFERENT or finite["value"].nunique() < 2:
        raise InputError(
            f"The effects of hyperparameters need at least {_FEWEST} evaluations{of_which}, of which "
            f"{_FEWEST_DIFFERENT} differ in their hyperparameters and not all have the same value; there are "
            f"{len(asked)}, of {plural(len(different), 'configuration')} and with "
            f"{plural(finite['value'].nunique(), 'value')}{f' ({left_out})' if left_out else ''}."
        )
