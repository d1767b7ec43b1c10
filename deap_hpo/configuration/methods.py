"""The names of all methods, and lists of those with a common ability."""

from __future__ import annotations

from deap_hpo.evolution import MULTI_OBJECTIVE
from deap_hpo.strategies import MULTI_FIDELITY, STRATEGIES, UNGUIDED

METHODS = ("truncation", "pbt", *MULTI_OBJECTIVE, *STRATEGIES, *MULTI_FIDELITY)
"""All methods: those with their own population and loop (`deap_hpo.configuration.loops.LOOPS`), then strategies."""

IN_PARTS = ("pbt", *MULTI_FIDELITY)
"""Methods that decide how long to train, and continue trainings."""

STEADY = ("truncation", *UNGUIDED, "cmaes", "gp", "nsga2", "surrogate", "tpe")
"""Methods that can propose whenever an evaluation is finished, rather than a whole generation."""

OF_SEVERAL_OBJECTIVES = (*MULTI_OBJECTIVE, *UNGUIDED)
"""Methods that take more than one objective."""
