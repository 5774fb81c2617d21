"""Constants that any module can import without further imports."""

__version__ = "0.1.0"

#: The default model: the most accurate bundled model.
DEFAULT_MODEL = "mobile"
