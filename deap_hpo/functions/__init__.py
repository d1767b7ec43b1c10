"""The user's own function as an evaluator, with learning curves and checkpoints."""
