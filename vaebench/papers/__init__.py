"""A paper's tables as data, and what our numbers say about them. No torch here."""
