"""The tables of a report, a module per format."""
