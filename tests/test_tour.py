"""The tour of the commands: every command composes, and the keys in what it prints are those it would make today."""

from __future__ import annotations

import re
import shlex

import pytest
from keys import anywhere

from commands import ROOT
from vaebench.cli.commands import asked_for
from vaebench.cli.listing import SECTIONS
from vaebench.config.choices import choices
from vaebench.config.compose import configurations
from vaebench.papers.tables import load

TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n\$ vaebench (.*?[^\\])\n(.*?)^```", TOUR, re.M | re.S)
KEY = re.compile(r"\b[0-9a-f]{12}\b")


def words(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", ""))


def test_the_tour_shows_what_each_kind_of_command_prints():
    assert [words(command)[0] for command, _ in BLOCKS] == [
        "list",
        "train",
        "eval",
        "eval",
        "eval",
        "eval",
        "plan",
        "reproduce",
    ]
    assert all(printed.strip() for _, printed in BLOCKS)


@pytest.mark.parametrize(("command", "printed"), [block for block in BLOCKS if block[0][:4] in ("trai", "eval")])
def test_the_keys_in_the_tour_are_those_that_its_commands_make(command, printed):
    verb, *options = words(command)
    with anywhere():
        if not any(option.startswith("dataset=") for option in options):
            options.append("dataset=mnist")  # the one of the page, where this machine has none
        made = {request.key for request in asked_for(verb, configurations(verb, options, sweep=False)[0])}
    said = set(KEY.findall(printed))
    assert said
    assert said <= made


def test_what_the_tour_lists_and_plans_is_there():
    shown = dict(BLOCKS)
    assert set(re.findall(r"^│ (\w+)", shown["list datasets"], re.M)) <= set(choices("dataset"))
    groups = re.search(r"`vaebench list (models`.*?) can be listed", TOUR, re.S)[1]
    assert set(re.findall(r"`(\w+)`", f"`{groups}")) <= set(SECTIONS)
    done = next(printed for command, printed in BLOCKS if command.startswith("reproduce"))
    assert set(re.findall(r"^batchtopk (\w+)", done, re.M)) <= set(load("batchtopk").tables)
    planned = next(printed for command, printed in BLOCKS if command.startswith("plan"))
    assert set(re.findall(r"^│ vpvae (\w+)", planned, re.M)) <= set(load("vpvae").tables)
