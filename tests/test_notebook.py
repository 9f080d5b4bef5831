"""docs/tutorial.ipynb does what it shows: run from an installed vaebench, in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from commands import ROOT, python

PAGE = ROOT / "docs" / "tutorial.ipynb"
MOST_BYTES = 150_000
NUMBER = re.compile(r"\d+\.\d+")  # what is measured; keys and counts are compared as they stand


def outputs(path: Path) -> list[dict[str, Any]]:
    """What each cell of code shows, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [one for cell in cells if cell["cell_type"] == "code" for one in cell["outputs"]]


def texts(found: list[dict[str, Any]]) -> tuple[list[str], list[float]]:
    """What is shown beside pictures: all words, and the numbers with a decimal point apart from them."""
    shown = "".join("".join(one["data"]["text/plain"]) for one in found if "image/png" not in one["data"])
    return NUMBER.sub("#", shown).split(), [float(number) for number in NUMBER.findall(shown)]


def test_the_page_shows_what_its_cells_give(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    target = tmp_path / "executed.ipynb"
    env = {"VAEBENCH_DATA": "", "MPLBACKEND": ""}
    done = python(str(ROOT / "tests" / "notebook.py"), str(target), path=installed, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [target]
    shown, found = outputs(PAGE), outputs(target)
    assert [one["output_type"] for one in shown] == [one["output_type"] for one in found]
    assert all("data" in one for one in found), "neither an error nor a warning"
    assert [sorted(one["data"]) for one in shown] == [sorted(one["data"]) for one in found]
    assert sum("image/png" in one["data"] for one in found) == 3
    (words, numbers), (words_now, numbers_now) = texts(shown), texts(found)
    assert words == words_now
    assert numbers_now == pytest.approx(numbers, abs=0.2)  # another processor rounds otherwise; seeds differ by 0.1


def test_the_page_is_small_and_was_run_in_order() -> None:
    assert PAGE.stat().st_size < MOST_BYTES
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for name in re.findall(r"\]\((\w+\.md)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).is_file(), name
