"""What is kept of a run: every evaluation, where it is stored, and what it was made by."""

DEFAULT_STORAGE = "runs/studies.db"
"""Where records are kept, unless a storage is named."""

STORAGE_VARIABLE = "DEAP_HPO_STORAGE"
"""The environment variable that names another storage for the commands."""
