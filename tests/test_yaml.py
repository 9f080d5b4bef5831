"""The YAML in conf/: what is wrong with it is said in one line, with its place."""

from __future__ import annotations

import pytest

from vaebench.config import choices, origins
from vaebench.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "(line 2, column 11: the key 'c' stands twice)"),
        ("a: 1\nb: 2\na: 3", "(line 3, column 1: the key 'a' stands twice)"),
        ("a: &x {<<: {d: 1}, c: 1, c: 1}\nb: {<<: *x}", "(line 1, column 26: the key 'c' stands twice)"),
        ("a: [1\nb: 2", "is not YAML (line 2, column "),
        ("a: b: c", "(line 1, column 5: mapping values are not allowed in this context)"),
    ],
)
def test_a_mistake_in_a_file_is_shown_with_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(origins, "conf_dir", lambda: tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        choices.leaf("paper", "x")
    assert str(caught.value).startswith("conf/paper/x.yaml: is not YAML (line ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_merged_may_be_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(origins, "conf_dir", lambda: tmp_path)
    (tmp_path / "paper").mkdir()
    text = "a: &a {<<: &b {x: 1, y: 2}, x: 3}\nc: {x: 4, <<: *a, <<: *b}\nd: *a\n1: 0\n'1': 0"
    (tmp_path / "paper" / "x.yaml").write_text(text, encoding="utf-8")
    a = {"x": 3, "y": 2}
    assert choices.leaf("paper", "x") == {"a": a, "c": {"x": 4, "y": 2}, "d": a, 1: 0, "1": 0}
