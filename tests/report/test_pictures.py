"""Which pictures a table has: those that stand beside its suites, in one file each."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from vaebench import report
from vaebench.config import choices as config
from vaebench.contracts.pictures import Axis, Bars, Histogram, Images, Level, Line, Panel, Panels, Scatter
from vaebench.report.pictures import drawing
from vaebench.report.pictures.house import house
from vaebench.suites import pictures

MINE = """
from vaebench.contracts.pictures import Bars, Panel, Panels, Picture


def _draw(shown):
    cells = shown.cells(shown.columns["size_mib"])
    return Panels(panels=[Panel(marks=[Bars(places=range(len(cells)), lengths=[c.ours.mean for c in cells.values()])])])


PICTURES = (Picture(kind="sizes", caption="How large the models are", draw=_draw, of_numbers=True),)
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder whose files are pictures of suites."""
    monkeypatch.setattr(pictures, "__path__", [*pictures.__path__, str(tmp_path)])
    config.pictures.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("vaebench.suites.pictures."):
            del sys.modules[name]
    config.pictures.cache_clear()


def test_a_new_picture_is_one_file_beside_its_suite(beside, tmp_path):
    assert config.pictures("cost") == ()
    config.pictures.cache_clear()
    (beside / "cost.py").write_text(MINE)
    from vaebench.config.origins import conf_dir
    from vaebench.papers.cells import Cells, cells_path

    results = tmp_path / "results"
    Cells.read(cells_path(conf_dir().parent / "results", "ldmae")).write(cells_path(results, "ldmae"))
    written = [path.name for path in report.write("ldmae", results, tmp_path / "nowhere")]
    name = "sizes-efficiency-small-imagenet.svg"
    assert name in written
    text = (results / "ldmae" / "table.md").read_text(encoding="utf-8")
    assert f"![How large the models are. scale=small, ImageNet.]({name})" in text
    report.write_index(results)
    assert f'src="{name}"' in (results / "ldmae" / "index.html").read_text(encoding="utf-8")


def test_a_picture_of_several_suites_is_declared_once():
    kinds = {suite: {one.kind for one in config.pictures(suite)} for suite in config.choices("suite")}
    assert [suite for suite, found in kinds.items() if "samples" in found] == ["generation", "latent_diffusion"]


def test_kinds_and_captions_are_told_apart():
    found = [picture for suite in config.choices("suite") for picture in config.pictures(suite)]
    assert len(found) > 20
    by_kind = {picture.kind: picture for picture in found}
    for picture in found:
        assert picture.caption == by_kind[picture.kind].caption, "two suites that show the same say the same"
    assert config.pictures("unheard_of") == ()


def test_every_mark_is_drawn_with_its_label():
    xy = np.arange(6.0).reshape(3, 2)
    marks = [
        Line(x=[1, 2], y=[1, 2], below=[0, 1], above=[1, 0], band=True, label="band"),
        Line(x=[1, 2], y=[1, 2], below=[0, 1], above=[1, 0], sideways=True, label="line", colour=9),
        Scatter(points=xy, classes=np.array([0, 1, 0]), names=("a", "b"), colour=7),
        Scatter(points=xy, moves=xy, label="no entry"),
        Scatter(points=xy, label="dots"),
        Bars(places=[1, 2], lengths=[3, 4], errors=[0.1, 0.2], label="bars"),
        Bars(places=[1, 2], lengths=[3, 4], starts=[0.5, 1], sideways=True, label="lying"),
        Histogram(edges=np.arange(3.0), densities=np.ones(2), label="histogram"),
        Level(at=1, low=0, high=2, label="level"),
    ]
    y = Axis(label="y", scale="log", ticks={1.0: "one", 2.0: "two"}, bold=[2.0], limits=(0.5, 9))
    content = Panels(panels=[Panel(marks=marks, title="t", y=y)] * 2, title="word " * 40, across=2, legend=3)
    with house():
        figure = drawing.panels(content)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["band", "line", "a", "b", "dots", "bars", "lying", "histogram", "level"]
    assert [text.get_fontweight() for text in figure.axes[0].get_yticklabels()] == ["normal", "bold"]
    lying = figure.axes[0].containers[-1]
    assert [patch.get_x() for patch in lying] == [0.5, 1], "bars begin where they should"
    assert figure.get_suptitle().count("\n") == 2, "a long title is broken"
    assert drawing.png(figure, few_colours=True).startswith(b"\x89PNG")
    assert drawing.svg(figure).startswith(b"<?xml")
    beside = drawing.panels(Panels(panels=[Panel(marks=marks)], legend="inside"))
    assert len(beside.axes[0].get_legend().get_texts()) == len(labels)


def test_dollars_are_no_mathematics():
    odd = r"$\frac{$ x"
    line = Line(x=[1, 2], y=[1, 2], label=odd)
    axis = Axis(label=odd, ticks={1.0: odd})
    content = Panels(panels=[Panel(marks=[line], title=odd, x=axis, y=axis)], title=odd)
    assert drawing.svg(drawing.panels(content)).count(b"$\\frac{$ x") == 7
    assert drawing.png(drawing.images(Images({odd: np.zeros((1, 4, 4, 1), np.uint8)})))


def test_images_are_broken_into_lines():
    lines = {"grey": np.zeros((6, 4, 4, 1), np.uint8), "colours": np.zeros((2, 4, 4, 3), np.uint8)}
    figure = drawing.images(Images(lines, per_line=2))
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [(18, 12), (6, 12, 3)]
    assert [text.get_text() for text in figure.texts] == ["grey", "colours"]


def test_a_last_line_of_images_is_filled_up_with_white():
    five = np.zeros((5, 4, 4, 1), np.uint8)
    block = drawing.images(Images({"five": five, "one": five[:1]}, per_line=2)).axes[0].images[0].get_array()
    assert block.shape == (18, 12)
    assert (block[12:, 6:] == 255).all()
    assert (block[13:17, 1:5] == 0).all()
