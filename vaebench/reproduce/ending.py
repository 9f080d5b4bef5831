"""What `vaebench reproduce` ends with: what came out on a screen at most, what went wrong, where all of it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from vaebench.config.choices import choices
from vaebench.config.spine import ReproduceConfig
from vaebench.papers.cells import Cells
from vaebench.papers.tables import Paper

Told = tuple[Paper, Cells, Collection[tuple[str, str, str]]]  # a paper, its cells, and (table, scale, dataset) to show
_MOST = 6  # lines about what went wrong


def show(found: Sequence[Told], cfg: ReproduceConfig, console: Console) -> None:
    """Print the tables with ``full``, else how many of their numbers and claims came out how; then the files."""
    from vaebench import report

    if cfg.full:
        for told in found:
            report.console(*told, console)
    else:
        report.brief(found, console)
    for line in _where([paper.name for paper, _, _ in found], cfg):
        console.print(line)


def _where(papers: Sequence[str], cfg: ReproduceConfig) -> list[str]:
    """Which files to look at, and how to see the tables."""
    folder = Path(cfg.results)
    page, others = (folder / papers[0], "beside it") if len(papers) == 1 else (folder, f"in {folder}/PAPER/")
    lines = [f"page: {page / 'index.html'}; {others}: cells.csv, table.md, table.tex, table.json"]
    words = ["vaebench report --open", *([f"paper={papers[0]}"] if len(papers) == 1 else [])]
    words += [f"results={cfg.results}"] if cfg.results != ReproduceConfig.results else []
    in_browser = f"; in a browser: {' '.join(words)}" if {*papers} <= {*choices("paper")} else ""
    return lines if cfg.full else [*lines, f"the tables: the same command with --full{in_browser}"]


def problems(lines: Sequence[str], cfg: ReproduceConfig, console: Console) -> None:
    """Print what failed or was left out, a line each: the first few, with ``full`` all."""
    shown = lines if cfg.full or len(lines) <= _MOST + 1 else lines[:_MOST]
    for line in shown:
        console.print(" ".join(line.split()))
    if len(shown) < len(lines):
        console.print(f"and {len(lines) - len(shown)} more like these (--full; vaebench list runs where=status=failed)")
