r"""Where in a text the final answer stands: behind the thinking, before a new question, in the last box, tag or field.

Every step takes time linear in the length of the text.
"""

from __future__ import annotations

import re
import sys
from collections import deque

from vaebench.data.problems import last_box

_THOUGHT = re.compile(r"</(?:think(?:ing)?|thoughts?|reasoning|scratchpad)>|\u25c1/think\u25b7", re.IGNORECASE)
_END = re.compile(r"<\|(?:im_end|endoftext|eot_id|end)\|>|<end_of_turn>|</s>")
# What a model goes on with that does not stop after its answer: the next question of its prompt.
_ASKED = re.compile(
    r"^[ \t]*+(?:[*#>]{1,4}[ \t]{0,3})?(?:Question|Problem|Q|Human|User|Instruction)[ \t]?\d{0,4}[ \t]?\*{0,2}:",
    re.MULTILINE,
)
_ANSWERED = re.compile(
    r"####[ \t]?+[-$\\\d]|\\(?:boxed|fbox)[ {]|</(?:final_?)?answer>|(?i:\banswer)\W{0,4}(?:is\b|:|=)|^[ \t]*+A:",
    re.MULTILINE,
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*+")
_BARE = re.compile(r"[^\s$\\{}]+")
_OPENED = re.compile(r"<(?:final_?)?answer>|\[(?:final_?)?answer\]", re.IGNORECASE)
_CLOSED = re.compile(r"</(?:final_?)?answer>|\[/(?:final_?)?answer\]", re.IGNORECASE)
# "answer": "5", "final_answer": 5, 'answer': '5', and what comes of them in careless hands: answer": "5",
# **Answer**: "5".
_FIELD = re.compile(
    r"""(?i:\b(?:final[ _-]?)?answer)(?:
    ["*`]{0,4}\s{0,9}:[*`]{0,4}\s{0,9}"(?!answer")((?:[^"\\]|\\.)*)"
    |'\s{0,9}:\s{0,9}'([^'\n]*)'
    |["']\s{0,9}:\s{0,9}([^"',}\n]*))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\u(?!d[89a-f])([0-9a-f]{4})", re.IGNORECASE)


def said(text: str) -> str:
    """The part of a text that answers: without the thinking before it and the questions that a model asks itself next.

    Thoughts count if nothing follows them. A new question ends the answer only if there was a marked answer before.
    """
    thought = last_match(_THOUGHT, text)
    if thought and text[thought.end() :].strip():
        text = text[thought.end() :]
    end = _END.search(text)
    if end and text[: end.start()].strip():
        text = text[: end.start()]
    answered = _ANSWERED.search(text)
    asked = _ASKED.search(text, answered.end()) if answered else None
    return text[: asked.start()] if asked else text


def last_match(pattern: re.Pattern[str], text: str, end: int = sys.maxsize) -> re.Match[str] | None:
    """Where a pattern occurs last, before ``end``; occurrences are counted from the left."""
    found = deque(pattern.finditer(text, 0, end), maxlen=1)
    return found[0] if found else None


def last_field(text: str) -> str | None:
    """What the last JSON field ``"answer"`` or ``"final_answer"`` holds; None without one.

    Escapes stay as they stand, but for signs by their number. The text around it need not be valid JSON; quotes around
    ``answer`` may be missing if its value has them.
    """
    field = last_match(_FIELD, text)
    if field is None:
        return None
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), field[1] or field[2] or field[3] or "").strip()


def marked(text: str) -> str | None:
    r"""The first of these that the text has: the last ``\boxed{}``, the last ``<answer>``, the last field ``"answer"``.

    None without any; ``""`` if there is a box but the last one is not closed, which is no answer. ``\boxed 5`` holds
    the word that follows.
    """
    box = last_match(_BOX, text)
    if box and text.startswith("{", box.end()):
        return last_box(text[box.start() :]) or ""
    if box:
        word = _BARE.match(text, box.end())
        return word[0] if word else ""
    closed = last_match(_CLOSED, text)
    opened = last_match(_OPENED, text, closed.start()) if closed else None
    return text[opened.end() : closed.start()].strip() if opened and closed else last_field(text)
