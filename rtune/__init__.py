"""rtune: distributed hyperparameter search for robust pruning."""

__version__ = "0.1.0"
