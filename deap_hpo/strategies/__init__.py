"""Search strategies in DEAP's ask-and-tell idiom: `generate()` and `update(population)`, one file each."""
