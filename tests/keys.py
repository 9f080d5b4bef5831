"""The keys of all requests: of every table of every paper at every scale, and of every experiment.

A key names a folder of stored work, so it changes only with the numbers. ``python tests/keys.py`` writes `FILE` again,
`test_keys.py` compares. Nothing depends on the machine: every set of data counts as being there, folders of files as
holding the same ones, packages as installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from vaebench.chains.chain import training
from vaebench.config.choices import choices
from vaebench.config.compose import compose, configurations, session
from vaebench.config.request import Request
from vaebench.papers.tables import load, names
from vaebench.reproduce import absent, planning
from vaebench.reproduce import rows as items

FILE = Path(__file__).with_name("keys.json")
SCALES = ("smoke", "small", "paper")


@contextmanager
def anywhere() -> Iterator[None]:
    """Hydra, and the same plans on every machine."""

    cached = (planning._features, items._chain, items._suite_leaf)
    with ExitStack() as stack:
        for module in (planning, absent):
            stack.enter_context(mock.patch.object(module, "at_hand", return_value=True))
        stack.enter_context(mock.patch("vaebench.reproduce.rows.missing", return_value=[]))
        stack.enter_context(mock.patch("vaebench.data.contents.contents", return_value="the same files"))
        stack.enter_context(mock.patch("vaebench.metrics.features.inception_available", return_value=True))
        stack.enter_context(mock.patch("vaebench.metrics.features.cifar10_resnet_available", return_value=True))
        stack.enter_context(session())
        for function in cached:
            function.cache_clear()
            stack.callback(function.cache_clear)
        yield


def of_paper(paper: str, scale: str) -> dict[str, str]:
    """Of every table: the keys of all its requests, and of every row a digest of those it is made of, in order.

    Of a study the first rung of the smallest scale: its rows are of the same axes at all of them.
    """
    found: dict[str, str] = {}
    for table in (name for name, one in load(paper).tables.items() if scale == "smoke" or not one.study):
        words = [f"paper={paper}", f"table={table}", f"scale={scale}", "runtime.device=cpu"]
        try:
            plan = planning.make(configurations("reproduce", words, sweep=False)[0])
        except planning.NothingToRun:
            continue
        found[table] = " ".join(sorted(plan.requests))
        rows: dict[str, list[str]] = {}
        for item in plan.items:
            made: list[Request] = [*([item.train] if item.train else []), *item.evaluations.values()]
            rows.setdefault(f"{table} {item.row} {item.setting.dataset}", []).extend(one.key for one in made)
        found |= {name: hashlib.sha256(" ".join(keys).encode()).hexdigest()[:12] for name, keys in rows.items()}
    return found


def of_experiments() -> dict[str, str]:
    """Of every experiment the key of its training and those of all it builds on, at the default scale."""
    found = {}
    for name in choices("experiment"):
        *before, request = training(compose("train", [f"experiment={name}"]))
        found[name] = " ".join([request.key, *sorted({one.key for one in before})])
    return found


def main() -> None:
    """Write the fixture."""
    with anywhere():
        found = {f"{paper} {scale}": of_paper(paper, scale) for paper in names() for scale in SCALES}
        found["experiments"] = of_experiments()
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
