"""The names of all methods, and which of them can do what."""

from __future__ import annotations

from deap_hpo.evolution import MULTI_OBJECTIVE
from deap_hpo.strategies import MULTI_FIDELITY, STRATEGIES, UNGUIDED

LOOPS = ("truncation", "pbt", *MULTI_OBJECTIVE)
"""Those with a population and a loop of their own; all others are strategies."""

METHODS = (*LOOPS, *STRATEGIES, *MULTI_FIDELITY)
"""All of them."""

IN_PARTS = ("pbt", *MULTI_FIDELITY)
"""Those that say how long to train, and go on with trainings."""

STEADY = ("truncation", *UNGUIDED, "cmaes", "gp", "nsga2", "surrogate", "tpe")
"""Those that can go on whenever an evaluation is finished, rather than a whole generation."""

OF_SEVERAL_OBJECTIVES = (*MULTI_OBJECTIVE, *UNGUIDED)
"""Those that take more than one objective."""
