"""Every number that a suite takes, from its YAML and its signature: one line with the range for what is outside it."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from hydra.utils import get_object

from vaebench.config.choices import choices, leaf
from vaebench.config.request import Request
from vaebench.config.signatures import fits
from vaebench.errors import UserError
from vaebench.runs import build

SUITES = choices("suite")
WRONG = {int: [-1, -(2**70), 2**70], float: [math.nan, math.inf, -math.inf, -1.0, -1]}


def constructor(suite: str) -> Any:
    return get_object(leaf("suite", suite)["_target_"]).__init__


def numbers(suite: str) -> Iterator[tuple[str, type]]:
    """Options that are a number, may be one or hold some, and of which type."""
    for name, hint in typing.get_type_hints(constructor(suite)).items():
        for kind in parts(hint):
            if kind in WRONG:
                yield name, kind


def parts(hint: Any) -> Iterator[Any]:
    """A hint's innermost types."""
    arguments = typing.get_args(hint)
    if not arguments or typing.get_origin(hint) is typing.Literal:
        yield hint
    for argument in arguments:
        yield from parts(argument)


def put(old: Any, value: Any) -> Any:
    """``value`` in place of an option's; in a list, in place of its first number."""
    return [put(old[0], value), *old[1:]] if isinstance(old, list) else value


CASES = [(suite, name, kind) for suite in SUITES for name, kind in numbers(suite)]


def test_there_are_suites_with_numbers():
    assert {suite for suite, _, _ in CASES} == set(SUITES)


@pytest.mark.parametrize(("suite", "name", "kind"), CASES)
def test_a_number_out_of_range_is_refused(suite, name, kind):
    given = leaf("suite", suite)
    for wrong in WRONG[kind]:
        with pytest.raises(UserError) as raised:
            build.suite(Request({"suite": {**given, name: put(given[name], wrong)}}))
        lines = [line for line in raised.value.lines if line.startswith(f"suite.{name}=")]
        assert len(lines) == 1
        assert "expected a" in lines[0]
        assert "\n" not in lines[0]


@pytest.mark.parametrize(("suite", "name", "kind"), CASES)
def test_zero_is_taken_where_the_signature_has_it_in_range(suite, name, kind):
    given, hint = leaf("suite", suite), typing.get_type_hints(constructor(suite), include_extras=True)[name]
    old = given[name]
    zero = [0] if isinstance(old, list) and old != [] else 0
    if isinstance(old, list) and isinstance(old[0], list):
        zero = [[0, 0, 0]]
    request = Request({"suite": {**given, name: zero}})
    if fits(zero, hint):
        assert build.suite(request)
        return
    with pytest.raises(UserError, match=rf"^suite\.{name}=.*: expected a"):
        build.suite(request)


def ranged(hint: Any) -> bool:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated and arguments[0] in WRONG:
        return True
    return any(ranged(argument) for argument in arguments)


@pytest.mark.parametrize("suite", SUITES)
def test_every_number_in_a_suites_signature_says_its_range(suite):
    hints = typing.get_type_hints(constructor(suite), include_extras=True)
    bare = [name for name, _ in numbers(suite) if not ranged(hints[name])]
    assert not bare, f"{inspect.getfile(constructor(suite))}: give {bare} a range, as Count or Positive do"


@pytest.mark.parametrize(
    ("suite", "option", "line"),
    [
        ("generation", {"batch_size": 0}, "suite.batch_size=0: expected a whole number, at least 1"),
        ("generation", {"samples": 1}, "suite.samples=1: expected a whole number, at least 2"),
        (
            "noise",
            {"sigmas": [0.1, -0.5]},
            "suite.sigmas=[0.1, -0.5]: expected a list of finite numbers, each at least 0",
        ),
        ("noise", {"sigmas": []}, "suite.sigmas=[]: expected at least one standard deviation, each once"),
        (
            "noise",
            {"sigmas": [0.5, 0.5]},
            "suite.sigmas=[0.5, 0.5]: expected at least one standard deviation, each once",
        ),
        ("masks", {"batch_sizes": []}, "suite.batch_sizes=[]: expected at least one, each once"),
        ("selection", {"k": 0}, "suite.k=0: expected a whole number, at least 1, or null"),
        ("selection", {"bootstrap": 99}, "suite.bootstrap=99: expected a whole number, 100 to 1000000"),
        (
            "smoothness",
            {"epsilons": [0.1]},
            "suite.epsilons=[0.1]: expected 0, which the others are compared with, and each once",
        ),
        ("tokens", {"hop": 0}, "suite.hop=0: expected a finite number above 0"),
        (
            "latent_diffusion",
            {"samples": 12, "neighbours": 12},
            "suite.samples=12: expected a whole number, at least 13 (more than suite.neighbours)",
        ),
    ],
)
def test_the_line(suite, option, line):
    with pytest.raises(UserError) as raised:
        build.suite(Request({"suite": {**leaf("suite", suite), **option}}))
    assert list(raised.value.lines) == [line]
