"""Networks that others have trained: judges, distances, encoders."""
