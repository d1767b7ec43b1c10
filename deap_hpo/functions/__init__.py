"""A function of one's own as what evaluates, with learning curves and checkpoints."""
