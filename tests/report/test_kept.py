"""A picture is drawn again when what it shows, or the file, is not what it was; else it is left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vaebench.contracts.pictures import Axis, Images, Line, Moving, Panel, Panels, Picture
from vaebench.report import pictures
from vaebench.report.pictures import kept

LINE = Panels(panels=[Panel(marks=[Line(x=[0, 1], y=np.array([1.0, 2.0]), label="a")], x=Axis(ticks={0.0: "zero"}))])
GREYS = Images(lines={"test": np.zeros((2, 4, 4, 1), np.uint8)})
CONTENTS = {"line": LINE, "images": GREYS}


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn, in order."""
    seen = []
    draw = pictures._drawn
    monkeypatch.setattr(pictures, "_drawn", lambda content, ending: seen.append(content) or draw(content, ending))
    return seen


def write(path: Path, content) -> bytes:
    pictures.draw(path, content)
    return path.read_bytes()


@pytest.mark.parametrize("name", CONTENTS)
def test_the_same_picture_is_drawn_once(name, tmp_path, drawn, monkeypatch):
    content, path = CONTENTS[name], tmp_path / "picture.png"
    first, written = write(path, content), path.stat()
    assert write(path, content) == first
    assert len(drawn) == 1
    assert path.stat().st_mtime_ns == written.st_mtime_ns
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "other"))  # nothing is known there
    assert write(path, content) == first
    assert len(drawn) == 2, "a full drawing gives the same bytes"


@pytest.mark.parametrize("damage", ["lost", "edited", "replaced by a link", "of another content"])
def test_a_file_that_is_not_what_was_drawn_is_drawn_again(damage, tmp_path, drawn):
    path = tmp_path / "picture.png"
    first = write(path, LINE)
    if damage == "edited":
        path.write_bytes(first + b"\n")
    elif damage == "of another content":
        assert write(path, GREYS) != first
    else:
        path.rename(tmp_path / "elsewhere.png")
        if damage != "lost":
            path.symlink_to(tmp_path / "elsewhere.png")
    before = len(drawn)
    assert write(path, LINE) == first
    assert len(drawn) == before + 1
    assert not path.is_symlink()


def test_another_format_and_other_code_are_another_picture(tmp_path, drawn, monkeypatch):
    assert write(tmp_path / "picture.png", LINE).startswith(b"\x89PNG")
    assert write(tmp_path / "picture.svg", LINE).startswith(b"<?xml")
    assert len(drawn) == 2
    monkeypatch.setattr(kept, "_code", lambda: b"another version")
    write(tmp_path / "picture.svg", LINE)
    assert len(drawn) == 3


def test_the_style_is_part_of_the_code(tmp_path, monkeypatch):
    before = kept._code.__wrapped__()
    other = tmp_path / "house.mplstyle"
    other.write_text("font.size: 9\n")
    monkeypatch.setattr(kept, "STYLE", other)
    assert kept._code.__wrapped__() != before


def test_a_moving_picture_has_a_still_of_its_last_frame(tmp_path):
    last = Panels(panels=[Panel(marks=[Line(x=[0, 1], y=[2.0, 1.0])])])
    picture = Picture(kind="k", caption="c", draw=lambda shown: None)
    pictures._write(tmp_path / "moving.gif", picture, Moving([LINE, last, LINE, last]), SimpleNamespace())
    with Image.open(tmp_path / "moving.gif") as moving:
        durations = []
        for number in range(moving.n_frames):
            moving.seek(number)
            durations.append(moving.info["duration"])
    assert (durations[:3], durations[3] > 1000, moving.info["loop"]) == ([90, 90, 90], True, 0)
    assert (tmp_path / "moving.png").read_bytes() == write(tmp_path / "last.png", last)


def test_a_cache_that_cannot_be_read_or_written_costs_a_drawing(tmp_path, drawn, monkeypatch):
    path = tmp_path / "picture.png"
    first = write(path, LINE)
    for file in (tmp_path / "cache" / "pictures").iterdir():
        file.write_bytes(b"damaged")
    assert write(path, LINE) == first
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "file"))
    assert write(path, LINE) == first
    assert len(drawn) == 3


def test_every_difference_changes_the_digest():
    panel = LINE.panels[0]
    (line,) = panel.marks
    changed = [
        dataclasses.replace(line, y=np.array([1.0, 2.5])),
        dataclasses.replace(line, y=np.array([1.0, 2.0], np.float32)),
        dataclasses.replace(line, y=[1.0, 2.0]),
        dataclasses.replace(line, x=[0, 1.0]),
        dataclasses.replace(line, x=[0, [1]]),
        dataclasses.replace(line, label="b"),
        dataclasses.replace(line, below=[0.1, 0.1], above=[0.1, 0.1]),
    ]
    contents = [
        LINE,
        GREYS,
        Images(lines={"test": np.zeros((4, 2, 4, 1), np.uint8)}),
        Images(lines=GREYS.lines, per_line=1),
    ]
    contents += [Panels(panels=[dataclasses.replace(panel, marks=[one])]) for one in changed]
    contents += [Panels(panels=[dataclasses.replace(panel, x=Axis(ticks={0.0: "other"}))])]
    assert len({kept.digest(one) for one in contents}) == len(contents)
    assert kept.digest(LINE) == kept.digest(dataclasses.replace(LINE))
    assert kept.digest(["ab", "c"]) != kept.digest(["a", "bc"])


def test_settings_of_matplotlib_change_no_picture(tmp_path, monkeypatch):
    from matplotlib import rc_context

    first = write(tmp_path / "one.png", LINE)
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "other"))
    with rc_context({"lines.markersize": 20, "font.size": 30, "axes.facecolor": "red"}):
        assert write(tmp_path / "two.png", LINE) == first
