"""vaebench: reproduces the tables of papers on variational autoencoders and says, cell by cell, what holds."""

from vaebench.api import Model, Trained, UserError, evaluate, load, reported, runs, table, train

__version__ = "0.6.0"
__all__ = ["Model", "Trained", "UserError", "__version__", "evaluate", "load", "reported", "runs", "table", "train"]
