"""What the papers' YAML expands to is what it was, and the YAML stays data that can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from papers import dump

from vaebench.config.origins import conf_dir
from vaebench.papers.tables import load, names

KEPT = json.loads(dump.FILE.read_text(encoding="utf-8"))
FILES = sorted((conf_dir() / "paper").glob("*.yaml"))
PROSE = {"title", "source", "unstated", "caption", "label", "short", "note", "notes", "text", "remark", "reported"}


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


def texts(node: Any) -> Iterator[str]:
    """All that is no prose."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            if key not in PROSE:
                yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_configuration_hides_in_a_text_and_no_line_is_long(path):
    text = path.read_text(encoding="utf-8")
    assert not [one for one in texts(yaml.safe_load(text)) if "=" in one]
    assert not [line for line in text.splitlines() if len(line) > 160]


def test_the_papers_stay_short():
    assert sum(path.read_text(encoding="utf-8").count("\n") for path in FILES) <= 1270


@pytest.mark.parametrize("name", KEPT)
def test_a_reader_meets_no_inner_word(name):
    words = ("gate", "watch", "control:", "against:")
    for table in load(name).tables.values():
        for shown in (*(claim.text for claim in table.claims), *table.notes, table.caption):
            assert not shown.lower().startswith(words)
