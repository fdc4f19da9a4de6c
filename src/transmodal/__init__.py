"""transmodal: learn to turn one kind of biomedical image into another, prove how good it is, use it."""

__version__ = "0.1.0"
