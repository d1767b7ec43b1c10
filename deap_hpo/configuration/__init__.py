"""A run, from its settings to what evaluates and to the algorithm that asks for evaluations."""
