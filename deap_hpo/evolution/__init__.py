"""Evolution in DEAP's form: individuals, operators, algorithms. It knows neither networks nor records."""

MULTI_OBJECTIVE = ("nsga-ii", "nsga-iii")
"""The algorithms that look for a Pareto front."""
