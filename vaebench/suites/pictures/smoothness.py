"""What the suite smoothness has to show: quality against the noise on the latents, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Axis, Images, Panel, Panels, Picture

if TYPE_CHECKING:
    from vaebench.report.stored import Shown

_SHOWN_IMAGES = 2  # of a row, at each level of noise
_SHOWN_CHANNELS = 8
_SIDE = 28  # pixels at least that a channel's map is enlarged to


def _quantities(shown: Shown) -> dict[str, dict[float, str]]:
    """The columns by level, of the quantities that were measured at three levels at least."""
    found = {name: shown.levels(name) for name in ("rfid", "psnr")}
    return {
        name: columns
        for name, columns in found.items()
        if len({level for line in shown.along(columns).values() for level in line}) >= 3
    }


def _against_noise(shown: Shown) -> Panels | None:
    """A panel per quantity, a line per row; no noise stands at the left end."""
    panels, found = [], _quantities(shown)
    for quantity, columns in found.items():
        name = next(iter(columns.values()))
        features = shown.section.headings[name].removeprefix(shown.section.table.columns[name].label)
        title = f"rFID{features}" if quantity == "rfid" else "PSNR, dB"
        ticks = {level: f"{level:g}" for level in columns}
        x = Axis(label="noise ε", scale="symlog", ticks=ticks, slanted=True)
        panels.append(Panel(marks=shown.lines(columns), title=title, x=x))
    title = "; ".join(filter(None, (shown.leader(columns[max(columns)]) for columns in found.values())))
    return Panels(panels=panels, title=title, across=len(panels), height=2.8)


def _at_each_noise(shown: Shown) -> Images | None:
    """By row, an image, then its reconstructions, more noise on the latent each; then the next image.

    Other tables take a number or two from this suite; one of them has its pictures.
    """
    import numpy as np

    lines, length = {}, 0
    for label, found in shown.labelled().items() if _quantities(shown) else ():
        names = [name for name in (f"at_{float(level):g}" for level in found["epsilons"]) if name in found]
        columns = [found["inputs"], *(found[name] for name in names)]
        lines[label] = np.stack([column[:_SHOWN_IMAGES] for column in columns], 1).reshape(-1, *columns[0].shape[1:])
        length = len(columns)
    return Images(lines, per_line=length)


def _hidden(shown: Shown) -> Images | None:
    """With patches hidden, and as the model completes them; one that hides nothing (after a tuning) is left out."""
    lines = {}
    for label, found in shown.labelled("masked").items() if _quantities(shown) else ():
        if (found["masked"] != found["inputs"]).any():
            lines[f"{label}: hidden"] = found["masked"]
            lines[f"{label}: completed"] = found["completed"]
    return Images(lines)


def _channels(shown: Shown) -> Images | None:
    """Grey maps of the first channels of some images' latents ``[n h w l]``, each channel scaled by itself."""
    lines, length = {}, 0
    for label, found in shown.labelled().items() if _quantities(shown) else ():
        maps = found["latents"][:_SHOWN_IMAGES, :, :, :_SHOWN_CHANNELS].transpose(0, 3, 1, 2)
        factor = -(-_SIDE // maps.shape[-1])
        large = maps.repeat(factor, -1).repeat(factor, -2)
        lines[label] = large.reshape(-1, *large.shape[2:], 1)
        length = max(length, maps.shape[1])
    return Images(lines, per_line=length)


def _caption(shown: Shown) -> str:
    levels = ", ".join(f"{level:g}" for level in shown.levels("psnr"))
    return f"Two test images, then their reconstructions with more and more noise on the latents: {levels}"


PICTURES = (
    Picture(
        "smoothness",
        "Quality of reconstructions against the noise on the latents, ε in deviations of each channel; "
        "bars: 95 % intervals",
        _against_noise,
        of_numbers=True,
    ),
    Picture("at_noise", _caption, _at_each_noise),
    Picture("hidden", "Test images with patches hidden, and what the model makes of them", _hidden),
    Picture("channels", "The first channels of two images' latents, a line each; grey: the channel's mean", _channels),
)
