"""Constants that every part may import without importing anything else."""

__version__ = "0.1.0"

#: The model that labels unless the user names another: the most accurate of the models that ship.
DEFAULT_MODEL = "mobile"
