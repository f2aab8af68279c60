"""hsfm-sweep: a Ray-distributed orchestrator of hyperspectral transfer experiments."""

__version__ = "0.1.0"
