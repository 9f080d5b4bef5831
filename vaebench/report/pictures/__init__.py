"""The pictures of a section: which there are, and their files. What is drawn stands beside each suite.

A picture of arrays or logs that are no longer all in the store is left as it is, and one that shows what it would show
now is not drawn again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from vaebench.config.choices import pictures
from vaebench.contracts.pictures import Images, Moving, Panels, Picture, Scatter, Sounds
from vaebench.disk import write_bytes
from vaebench.report.judged import dataset_name
from vaebench.report.pictures import drawing, kept, own, sounds
from vaebench.report.pictures.house import house
from vaebench.report.stored import Shown, is_whole, say
from vaebench.report.summary import Section

Files = list[tuple[str, str]]  # (file name, caption) each
Content = Images | Panels | Moving | Sounds
_PICTURES = ("gif", "svg", "png")
_CLOUD = 20_000  # dots beyond which a chart is an image: each panel's pixels by themselves would make a larger file


def of(section: Section, store: Path) -> list[tuple[Picture, Shown]]:
    """The pictures that may be drawn of a section, in their order, and what each is made of."""
    suites = dict.fromkeys(column.suite for column in section.table.columns.values())
    shown = {suite: Shown(section, store, suite) for suite in suites}
    found = [(picture, shown[suite]) for suite in suites for picture in pictures(suite)]
    found += [(picture, Shown(section, store, "")) for picture in own.PICTURES]
    replaced = {picture.instead_of for picture, _ in found}
    return sorted((pair for pair in found if pair[0].kind not in replaced), key=lambda pair: pair[0].place)


def write(section: Section, store: Path, folder: Path) -> list[Path]:
    """Draw what the store still has the arrays for; returns the files, those that were so already among them.

    Where a store has some of the section's runs only, a picture that is there may show the others, and stays. Infinite
    numbers have no place in a picture.
    """
    import numpy as np

    whole, written = is_whole(section, store), []
    with np.errstate(invalid="ignore"):  # infinity less infinity
        for picture, content in _contents(section, store):
            path = folder / file_name(picture.kind, section, _ending(content))
            others = {path.with_suffix(f".{ending}") for ending in _PICTURES} - {path}
            there = path.exists() or any(other.exists() for other in others)
            if path in written or (there and not whole and not picture.of_numbers):
                continue
            _write(path, picture, content, section)
            written.append(path)
            for other in others if not isinstance(content, Moving | Sounds) else ():
                other.unlink(missing_ok=True)  # of the same picture in a format that it no longer has
    return written


def _write(path: Path, picture: Picture, content: Content, section: Section) -> None:
    if isinstance(content, Sounds):
        write_bytes(path, sounds.page(str(picture.caption), content, section).encode("utf-8"))
        return
    draw(path, content)
    if isinstance(content, Moving):
        draw(path.with_suffix(".png"), content.frames[-1])


def draw(path: Path, content: Images | Panels | Moving) -> None:
    """Write a picture in the format of the path's ending, unless the file is what would be written."""
    of = kept.digest(content, path.suffix)
    if not kept.as_drawn(path, of):
        drawn = _drawn(content, path.suffix)
        write_bytes(path, drawn)
        kept.keep(of, drawn)


def there(section: Section, folder: Path) -> Files:
    """(file name, caption) of the section's pictures that exist."""
    return [(name, f"{caption}. {where}.") for name, caption, where in _there(section, folder, _PICTURES)]


def to_hear(section: Section, folder: Path) -> Files:
    """(file name, caption) of the section's pages to listen to that exist."""
    return [(name, f"{caption}: {section.key}, {where}") for name, caption, where in _there(section, folder, ("html",))]


def _there(section: Section, folder: Path, endings: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """File name, caption and place; of several endings the first that exists."""
    where, seen = f"scale={section.scale}, {dataset_name(section.dataset)}", set()
    for picture, shown in of(section, folder):
        names = (file_name(picture.kind, section, ending) for ending in endings)
        name = next((name for name in names if (folder / name).exists()), None)
        if name and name not in seen:
            seen.add(name)
            yield name, picture.caption if isinstance(picture.caption, str) else picture.caption(shown), where


def file_name(kind: str, section: Section, ending: str) -> str:
    """``samples-table1-small-mnist.png``; a study's ranking is ``readings-small-mnist.svg``."""
    return f"{section.name}.{ending}" if kind == section.key else f"{kind}-{section.name}.{ending}"


def _ending(content: Content) -> str:
    if isinstance(content, Panels):
        marks = (mark for panel in content.panels for mark in panel.marks)
        return "svg" if sum(len(mark.points) for mark in marks if isinstance(mark, Scatter)) < _CLOUD else "png"
    return {Images: "png", Moving: "gif", Sounds: "html"}[type(content)]


def _contents(section: Section, store: Path) -> Iterator[tuple[Picture, Content]]:
    """What there is to see, without pictures of arrays that are not what they should be: some have no checksums."""
    for picture, shown in of(section, store):
        try:
            content = picture.draw(shown)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            say(f"{section.name}: pictures of arrays that are not what they should be ({reason})")
            continue
        if content:
            yield picture, content


def _drawn(content: Images | Panels | Moving, ending: str) -> bytes:
    """The picture's file: of its content alone, whatever settings of matplotlib a user has."""
    with house(), warnings.catch_warnings():
        # On a busy machine matplotlib says that finding a legend's place took a second.
        warnings.filterwarnings("ignore", message="Creating legend with loc")
        if isinstance(content, Moving):
            return drawing.gif((drawing.panels(frame) for frame in content.frames), content.milliseconds)
        if isinstance(content, Images):
            return drawing.png(drawing.images(content))
        figure = drawing.panels(content)
        return drawing.svg(figure) if ending == ".svg" else drawing.png(figure, few_colours=True)
