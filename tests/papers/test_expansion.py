"""What the papers' YAML expands to is what it was: rows, columns, printed numbers, claims, options at every scale."""

from __future__ import annotations

import json

import pytest
from papers import dump

from vaebench.papers.tables import load, names

KEPT = json.loads(dump.FILE.read_text(encoding="utf-8"))


def test_the_papers_are_those_that_were_written_down():
    assert names() == list(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_paper_expands_to_what_it_did(name):
    found, kept = dump.expansion(load(name)), KEPT[name]
    assert set(found["tables"]) == set(kept["tables"])
    for table in kept["tables"]:
        for part in {*kept["tables"][table], *found["tables"][table]}:
            assert found["tables"][table].get(part) == kept["tables"][table].get(part), (table, part)
    assert {**found, "tables": None} == {**kept, "tables": None}
