"""vaebench: reproduces the tables of papers on variational autoencoders and says, cell by cell, what holds."""

__version__ = "0.6.0"
