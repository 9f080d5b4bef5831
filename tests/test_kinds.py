"""A kind of run is one file: it is found, checked, made, read back and refused by what stands in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chains import do, failed
from vaebench.chains import check
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.reproduce.durations import learnt
from vaebench.runs import kinds
from vaebench.runs.store import Store

COUNT = '''
"""How many letters a text has."""

from vaebench.errors import UserError

ROLE = "count"
STOPS = False
REQUEST = {"text": str}
RESULT = {"letters": int}


def check(request, models, *, remote_code):
    if not request["text"]:
        raise UserError("text: is empty; give one")


def request(cfg, parents):
    raise NotImplementedError


def title(request):
    return f"letters of {request['text']}"


def seconds(request):
    return float(len(request["text"]))


def work(run, setup):
    text = run.request()["text"]
    for number, _ in enumerate(text, start=1):
        setup.track(number, len(text))
    run.write_json("result.json", {"letters": len(text)})
'''


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more kind, in a file of its own."""
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "count.py").write_text(COUNT, encoding="utf-8")
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path / "kinds")])
    monkeypatch.delitem(sys.modules, "vaebench.runs.kinds.count", raising=False)


@pytest.mark.usefixtures("count")
def test_one_file_makes_a_kind(home):
    request = Request({"verb": "count", "text": "three"})
    assert check.try_out([request]) == {}
    assert kinds.title(request) == "letters of three"
    (run,) = do(home, request)
    assert run.result() == {"letters": 5}
    assert run.request().key == request.key
    store = Store(home)
    assert [one.key for one in store.runs()] == [request.key]
    assert 0 < learnt(store, [request])(request) < 5.0, "it took less than the kind's guess"
    with pytest.raises(UserError, match="text: is empty; give one"):
        check.try_out([Request({"verb": "count", "text": ""})])


@pytest.mark.usefixtures("count")
def test_what_it_says_of_its_files_is_held_against_them(home):
    (run,) = do(home, Request({"verb": "count", "text": "three"}))
    run.write_json("result.json", {"letters": "five"})
    run.set_status("done")
    with pytest.raises(UserError, match=r"result\.json: is damaged \(letters is text\)"):
        run.result()
    wrong = Request({"verb": "count", "text": 3})
    assert "is not a request (text is a int)" in failed(home, wrong)


def test_a_kind_that_is_not_there_is_refused_before_anything_is_imported(home):
    run = Store(home).open(Request({"verb": "os", "text": "three"}))
    with pytest.raises(UserError, match="asks for 'os'"):
        run.request()
    with pytest.raises(UserError, match=r"unknown kind of run 'os'. Valid: answers, embed, eval, grade, latents"):
        kinds.of("os")


@pytest.mark.parametrize("verb", kinds.verbs())
def test_every_kind_has_what_a_kind_has(verb):
    kind = kinds.of(verb)
    for name in (*kinds.Kind.__annotations__, "request", "check", "title", "seconds", "work"):
        assert hasattr(kind, name), name
