"""Build minimal zone roots in place from the files of the running system."""

__version__ = "0.1.0"
