"""The hyperparameters to search, and genomes that decode to their values."""
