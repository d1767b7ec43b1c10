"""The hyperparameters that are searched, and genomes that decode to their values."""
