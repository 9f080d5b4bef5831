"""No request has another key than it had when `keys.json` was written, so that stored runs are found."""

from __future__ import annotations

import json

import keys
import pytest

STORED: dict[str, dict[str, str]] = json.loads(keys.FILE.read_text(encoding="utf-8"))


def test_every_paper_and_scale_is_compared():
    assert STORED.keys() == {f"{paper} {scale}" for paper in keys.names() for scale in keys.SCALES} | {"experiments"}


@pytest.mark.parametrize("which", sorted(STORED))
def test_keys_are_as_they_were(which):
    with keys.anywhere():
        found = keys.of_experiments() if which == "experiments" else keys.of_paper(*which.split())
    wanted = STORED[which]
    assert found.keys() == wanted.keys()
    differing = [name for name in wanted if found[name] != wanted[name]]
    assert not differing, differing
