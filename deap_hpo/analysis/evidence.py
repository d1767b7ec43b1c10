"""Evaluations that tell what hyperparameters do: enough of them, all trained for as long, and what is found by them."""

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
_FEWEST_DIFFERENT = 10  # of those with a value, without which there is no model of them
_MOST = 400  # evaluations beyond which the models of them take minutes, and in the end hours


@dataclass(frozen=True)
class Evidence:
    """Evaluations of a study that tell what its hyperparameters do, and what they tell, computed once; see `of`.

    Attributes:
        trials: Rows of all of them, trained for as long as each other.
        asked: Those that models are fitted to: the first evaluation of each configuration, 400 at most, drawn at
            random.
        space: The search space.
        direction: Which values are the good ones.
        of_which: For captions, which of the study's evaluations they are.
    """

    trials: pd.DataFrame
    asked: pd.DataFrame
    space: Space
    direction: Direction
    of_which: str

    @classmethod
    def of(cls, trials: pd.DataFrame, space: Space, direction: Direction = "minimize") -> Evidence:
        """Choose them among the evaluations of a study; of trainings in parts, the longest.

        Args:
            trials: As returned by `deap_hpo.analysis.tables.trials_table`.
            space: The search space.
            direction: Which values are the good ones.

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
        of_which = ""
        if len(trials):
            trials = trials[trials["status"].ne("infeasible")]  # of which nothing was learnt
        if len(trials) and "epochs" in trials:
            longest = trials["epochs"].max()
            trials = trials[trials["epochs"].eq(longest)]
            of_which = f", by trainings of {plural(longest, 'epoch')}"
        asked = asked_evaluations(trials)
        finite = asked[np.isfinite(asked["value"])] if len(asked) else asked.reindex(columns=["value"])
        different = finite[[name for name in finite if name.startswith("params_")]].astype(str).drop_duplicates()
        if len(asked) < _FEWEST or len(different) < _FEWEST_DIFFERENT or finite["value"].nunique() < 2:
            raise InputError(
                f"To say what hyperparameters do takes {_FEWEST} evaluations{of_which}, of which {_FEWEST_DIFFERENT} "
                f"differ in their hyperparameters and not all have the same value; there are {len(asked)}, of "
                f"{plural(len(different), 'configuration')} and with {plural(finite['value'].nunique(), 'value')}."
            )
        if len(asked) > _MOST:
            asked = asked.sample(_MOST, random_state=0)
            of_which += f", by {_MOST} evaluations drawn at random"
        return cls(trials, asked, space, direction, of_which)

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Say how important each hyperparameter is; see `deap_hpo.analysis.importance.importances`."""
        return importances(self.asked, self.space, direction=self.direction)

    @property
    def important(self) -> list[str]:
        """Give the hyperparameters, the most important first."""
        return list(self.importances["hyperparameter"])

    @cached_property
    def model(self) -> ResponseModel:
        """Model the objective by a Gaussian process over the space."""
        return ResponseModel(self.asked, self.space)
