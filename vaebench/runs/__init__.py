"""Runs: where they are stored, how they are made and opened again."""
