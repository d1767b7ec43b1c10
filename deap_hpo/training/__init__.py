"""Training networks: data, models, tasks and the trainers. Independent of DEAP."""
