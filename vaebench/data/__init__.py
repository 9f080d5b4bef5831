"""Datasets: where their files are, whether they are whole, and what they hold."""
