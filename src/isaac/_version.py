"""The version, where the package and its build both find it."""

__version__ = "0.2.0"
