"""Runs that need each other, parents before children."""
