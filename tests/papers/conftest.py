from __future__ import annotations

import copy

import pytest

COLUMN = {"label": "FID", "suite": "generation", "measurement": "fid", "better": "lower", "digits": 1, "tolerance": 1.0}
GOOD = {
    "title": "T",
    "authors": "A",
    "source": "S",
    "year": 2026,
    "tables": {
        "one": {
            "caption": "C",
            "dataset": "mnist",
            "protocol": {"dataset": "mnist"},
            "reading": {"epochs": 50},
            "columns": {
                "fid": {**COLUMN, "protocol": {"features": "inception"}},
                "psnr": {**COLUMN, "better": "higher"},
            },
            "rows": {"a": {"label": "A", "experiment": "p/a"}, "b": {"label": "B", "experiment": "p/b"}},
            "reported": "method fid psnr\na 1.0 20\nb 2.0 10",
            "claims": [{"row": "a", "lower": "fid", "than": "b"}],
        },
        "study": {
            "caption": "C",
            "dataset": "mnist",
            "axes": {
                "x": {"1": {"model.x": 1}, "2": {"model.x": 2}},
                "y": {"p": {"model.y": "p"}, "q": {"model.y": "q"}},
            },
            "of": [
                {"table": "one", "row": "a", "axes": ["x", "y"], "columns": ["fid", "psnr"]},
                {"table": "one", "row": "b", "axes": ["y"], "columns": ["fid"]},
            ],
            "units": {"fid": 5, "psnr": 1},
            "race": {"drawn": 4, "lengths": [10], "keep": 0.5, "seeds": 2},
        },
    },
}


@pytest.fixture
def good() -> dict:
    """A small paper without a mistake, as its YAML would be read."""
    return copy.deepcopy(GOOD)
