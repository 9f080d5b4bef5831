"""Evaluation protocols: each takes a trained model and yields measurements."""
