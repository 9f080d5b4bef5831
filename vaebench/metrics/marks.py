r"""Where in a text the final answer stands: behind the thinking, before a new question, in the last box, tag or field.

Every step takes time linear in the length of the text.
"""

from __future__ import annotations

import re

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


def last_match(pattern: re.Pattern[str], text: str, end: int | None = None) -> re.Match[str] | None:
    """Where a pattern occurs last, before ``end``; occurrences are counted from the left."""
    found = None
    for found in pattern.finditer(text, 0, len(text) if end is None else end):  # noqa: B007 (the last one is asked for)
        pass
    return found


def last_box(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` or ``\fbox{...}`` holds; None without one, or if it is not closed.

    ``\boxed 5`` holds the word that follows.
    """
    box = last_match(_BOX, text)
    if box is None:
        return None
    if not text.startswith("{", box.end()):
        word = _BARE.match(text, box.end())
        return word[0] if word else None
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text[box.end() :], re.DOTALL):  # an escaped brace is a character
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0 and brace[0] == "}":
            return text[box.end() + 1 : box.end() + brace.start()].strip()
    return None


def last_field(text: str) -> str | None:
    """What the last JSON field ``"answer"`` or ``"final_answer"`` holds; None without one.

    Escapes stay as they stand, but for signs by their number.

    The text around it need not be valid JSON; quotes around ``answer`` may be missing if its value has them.
    """
    field = last_match(_FIELD, text)
    if field is None:
        return None
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), field[1] or field[2] or field[3] or "").strip()


def last_tag(text: str) -> str | None:
    """What stands between the last ``<answer>`` and ``</answer>``; None without both."""
    closed = last_match(_CLOSED, text)
    opened = last_match(_OPENED, text, closed.start()) if closed else None
    return text[opened.end() : closed.start()].strip() if opened and closed else None


def marked(text: str) -> str | None:
    r"""The first of these that the text has: the last ``\boxed{}``, the last ``<answer>``, the last field ``"answer"``.

    None without any; ``""`` if there is a box but the last one is not closed, which is no answer.
    """
    if _BOX.search(text):
        return last_box(text) or ""
    tag = last_tag(text)
    return last_field(text) if tag is None else tag
