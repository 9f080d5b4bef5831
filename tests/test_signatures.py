"""What is said of an option that its hint excludes, and where this is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval, Len

from vaebench.config.signatures import (
    Count,
    Fraction,
    NonNegative,
    OneOf,
    Positive,
    Seed,
    Share,
    checked,
    chosen,
    mistake,
)
from vaebench.errors import UserError
from vaebench.sources.generate import Generate
from vaebench.sources.recorded import Own, Recorded
from vaebench.sources.vllm import Vllm


@pytest.mark.parametrize(
    ("hint", "value", "line"),
    [
        (Count, 0, "o=0: expected a whole number, at least 1"),
        (Count, 2**40, "o=1099511627776: expected a whole number, 1 to 2147483647"),
        (Count, True, "o=True: expected a whole number, at least 1"),
        (Count, None, "o=null: expected a whole number, at least 1"),
        (Count | None, 0, "o=0: expected a whole number, at least 1, or null"),
        (int | None, "x", "o='x': expected a whole number or null"),
        (Seed, -1, "o=-1: expected a whole number, at least 0"),
        (NonNegative, -1.0, "o=-1.0: expected a finite number, at least 0"),
        (NonNegative, float("inf"), "o=inf: expected a finite number, at least 0"),
        (Positive, 0, "o=0: expected a finite number above 0"),
        (Share, float("nan"), "o=nan: expected a number, 0 to 1"),
        (Fraction, 1.0, "o=1.0: expected a number, at least 0 and below 1"),
        (Annotated[float, Interval(gt=0, le=1)], 2, "o=2: expected a number above 0 and at most 1"),
        (Sequence[Count], [1, 0], "o=[1, 0]: expected a list of whole numbers, each at least 1"),
        (Sequence[Positive], [0.0], "o=[0.0]: expected a list of finite numbers above 0"),
        (Annotated[Sequence[int], Len(1)], [], "o=[]: expected a list of one or more whole numbers"),
        (Annotated[Sequence[Share], Len(2, 2)], [1], "o=[1]: expected a list of 2 numbers, each 0 to 1"),
        (Sequence[Literal["a"]], ["b"], "o=['b']: expected a list, each one of a"),
        (Literal["mean", "sum"], "sums", "unknown o 'sums'; did you mean 'sum'? Valid: mean, sum"),
        (Literal["mean"] | None, "max", "unknown o 'max'. Valid: mean, null"),
        (Annotated[str, OneOf(("a", "b"))], 1, "o=1: expected one of a, b"),
        (Annotated[str, OneOf(lambda: ["a", "b"])], "c", "unknown o 'c'. Valid: a, b"),
    ],
)
def test_what_is_wrong_is_one_line(hint, value, line):
    assert mistake("o", value, hint) == line


@checked("model")
def built(*, beta: NonNegative, network: Literal["mlp", "conv"], shape: Sequence[int]) -> Any:
    return beta, network, shape


def test_a_direct_call_is_checked():
    assert built(beta=1, network="mlp", shape=[1]) == (1, "mlp", [1])
    with pytest.raises(UserError) as caught:
        built(beta=-1, network="cnv", shape=[1])
    assert caught.value.lines == (
        "model.beta=-1: expected a finite number, at least 0",
        "unknown model.network 'cnv'; did you mean 'conv'? Valid: conv, mlp",
    )


@pytest.mark.parametrize("made", [Generate, Vllm, Recorded, Own])
def test_a_dataclass_is_checked_as_its_own_signature_says_also_in_what_it_inherits(made):
    """The hints of an inherited field are read where it stands: here `Count` and `Share` of other modules."""
    options = {name: True for name, one in signature(made).parameters.items() if one.default is one.empty}
    assert {"shard", "k"} <= options.keys()
    with pytest.raises(UserError) as caught:
        made(**options)
    wrong = [line.partition("=")[0] for line in caught.value.lines]
    assert {"dataset.answers.shard", "dataset.answers.k"} <= set(wrong)
    assert len(wrong) == len(set(wrong))


def test_what_is_chosen_gets_its_options_and_what_is_provided():
    options = {"kind": "one", "version": 2, "beta": 1, "network": "mlp"}
    assert chosen("model.part", options, {"one": built}, shape=[2]) == (1, "mlp", [2])
    for wrong, line in (
        ({"kind": "two"}, "unknown model.part.kind 'two'. Valid: one"),
        ({"beta": -1}, "model.part.beta=-1: expected a finite number, at least 0"),
        ({"gamma": 1}, "unknown option 'model.part.gamma'; did you mean"),
    ):
        with pytest.raises(UserError) as caught:
            chosen("model.part", options | wrong, {"one": built}, shape=[2])
        assert caught.value.lines[0].startswith(line)
