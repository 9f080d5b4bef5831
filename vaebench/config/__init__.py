"""Configurations: what can be chosen, the typed spine, their composition, and the request one becomes."""
