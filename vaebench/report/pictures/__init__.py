"""The pictures of a section: which there are, and their files. What is drawn stands beside each suite.

A picture of arrays or logs that are no longer all in the store is left as it is, and one that shows what it would show
now is not drawn again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from vaebench.config.choices import pictures
from vaebench.contracts.pictures import Images, Panels, Picture, Sounds
from vaebench.disk import write_bytes
from vaebench.report.judged import dataset_name
from vaebench.report.pictures import drawing, kept, own, sounds
from vaebench.report.stored import Shown, is_whole, say
from vaebench.report.summary import Section

Files = list[tuple[str, str]]  # (file name, caption) each


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
            ending = "html" if isinstance(content, Sounds) else "png"
            path = folder / file_name(picture.kind, section, ending)
            if path in written or (path.exists() and not whole and not picture.of_numbers):
                continue
            _write(path, picture, content, section)
            written.append(path)
    return written


def _write(path: Path, picture: Picture, content: Images | Panels | Sounds, section: Section) -> None:
    if isinstance(content, Sounds):
        write_bytes(path, sounds.page(str(picture.caption), content, section).encode("utf-8"))
        return
    few_colours = picture.colours == "few"
    of = kept.digest(content, few_colours)
    if not kept.as_drawn(path, of):
        drawn = _drawn(content, few_colours=few_colours)
        write_bytes(path, drawn)
        kept.keep(of, drawn)


def there(section: Section, folder: Path, ending: str = "png") -> Files:
    """(file name, caption) of the section's pictures that exist; with ``html``, of its pages to listen to."""
    found = {}
    for picture, shown in of(section, folder):
        name = file_name(picture.kind, section, ending)
        if name not in found and (folder / name).exists():
            caption = picture.caption if isinstance(picture.caption, str) else picture.caption(shown)
            where = f"scale={section.scale}, {dataset_name(section.dataset)}"
            found[name] = f"{caption}. {where}." if ending == "png" else f"{caption}: {section.key}, {where}"
    return list(found.items())


def file_name(kind: str, section: Section, ending: str = "png") -> str:
    """``samples-table1-small-mnist.png``; a study's ranking is ``readings-small-mnist.png``."""
    return f"{section.name}.{ending}" if kind == section.key else f"{kind}-{section.name}.{ending}"


def _contents(section: Section, store: Path) -> Iterator[tuple[Picture, Images | Panels | Sounds]]:
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


def _drawn(content: Images | Panels, *, few_colours: bool) -> bytes:
    """The picture's file: of its content alone, whatever settings of matplotlib a user has."""
    from matplotlib import rc_context, rcdefaults

    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        # On a busy machine matplotlib says that finding a legend's place took a second.
        warnings.filterwarnings("ignore", message="Creating legend with loc")
        figure = drawing.images(content) if isinstance(content, Images) else drawing.panels(content)
        return drawing.png(figure, few_colours=few_colours)
