"""Training networks: data, models, tasks and the trainers. Knows nothing of DEAP."""
