"""Reproductions: a paper's tables as requests, run and collected."""
