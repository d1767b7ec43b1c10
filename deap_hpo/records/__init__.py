"""The record of a run: every evaluation, its storage, and the facts about the code that made it."""

DEFAULT_STORAGE = "runs/studies.db"
"""Where records are kept unless a storage is given."""

STORAGE_VARIABLE = "DEAP_HPO_STORAGE"
"""The environment variable that names another storage for the commands."""
