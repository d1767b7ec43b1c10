"""A run, from its settings to the evaluator and to the algorithm that asks for evaluations."""
