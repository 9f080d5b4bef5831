"""Work by threads, ahead of who asks for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vaebench.data import ahead as module
from vaebench.data.ahead import ahead, told


def test_all_is_done_in_order_whichever_is_ready_first():
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(60)
        if item == 1:
            second.set()
        return item * item

    assert list(ahead(work, range(30), 2)) == [(item, item * item) for item in range(30)]
    assert list(ahead(work, [])) == []


def test_only_a_few_are_begun_before_they_are_asked_for():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    found = ahead(str, items(), 2)
    assert taken == []
    assert next(found) == (0, "0")
    assert len(taken) == 2 * module._EACH + 1
    assert next(found) == (1, "1")
    assert len(taken) == 2 * module._EACH + 2
    found.close()
    assert len(taken) == 2 * module._EACH + 2


def test_what_goes_wrong_is_raised_when_its_turn_has_come():
    found = ahead(lambda item: 1 / (item - 2), range(5), 1)
    assert [next(found)[0], next(found)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_line_now_and_then_says_how_far_it_is(capsys, monkeypatch):
    assert list(told(range(3), 3, "decoded")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    clock = iter([0.0, 10.0, 40.0, 50.0, 80.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert list(told("abcd", 4000, "decoded")) == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        "note: decoded 2 of 4,000 files, 1332:40 left",
        "note: decoded 4 of 4,000 files, 1332:00 left",
    ]
