"""Evolution in DEAP's form: individuals, operators, algorithms. It depends on neither networks nor records."""

MULTI_OBJECTIVE = ("nsga-ii", "nsga-iii")
"""The algorithms that search for a Pareto front."""
