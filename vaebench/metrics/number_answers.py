r"""Final answers of word problems: the number that a text in plain English, Markdown, LaTeX or JSON comes to.

A number is read whole: ``3/4``, ``1 1/2``, ``9,500``, ``9{,}500``, ``1.5e3``. What looks like one and is none
(``8:30``, ``1,2,3``) stays the text it is, and so does a calculation without its result; neither is its first number.
Every step takes time linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from vaebench.metrics.latex_answers import (
    LONGEST,
    MOST_DIGITS,
    as_number,
    normalise,
    number_text,
    plain_signs,
    plain_thousands,
)
from vaebench.metrics.marks import last_match, marked, said

_MARKS = 50  # of a kind that are looked at, the last ones
_LINE = 300  # characters behind a mark that are looked at

_FRACTION = r"\\[dt]?frac ?(?:\{ ?\d+ ?\} ?\{ ?\d+ ?\}|\d\d)"
_POWER = (
    r"(?:[eE][-+]?\d{1,2}(?!\w)|\s?(?:\\times|\\cdot|[x*\u00d7\u00b7])\s?10\s?\^\s?(?:\{\s?-?\d{1,2}\s?\}|-?\d{1,2}))"
)
_RUN = r"\d++(?:[.,:/]\d++)*+|\.\d++"
# A minus that follows a word, a number or a bracket subtracts.
_SIGN = r"(?P<minus>(?<![\w)\]}%.])-|(?<!\d )\b(?i:negative)\s{1,2})?(?:\\?[$€£]\s?)?(?:(?<=[$€£])(?P<after>-))?"
_NUMBER = re.compile(
    rf"{_SIGN}(?:(?P<digits>(?P<whole>\d++)(?: (?P<over>\d++)/(?P<under>\d++)(?![\d/,:])| ?(?P<frac>{_FRACTION}))"
    rf"|{_FRACTION}|(?>{_RUN}))(?P<power>{_POWER})?)"
)
_BLANK_THOUSANDS = re.compile(r"(?<![\d.,:/])(\d{1,3})((?: \d{3})++)(?![\d/:]| ?\\frac)")
_ON_THE_DOT = re.compile(r"(?<=\d):00(?![\d:])")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?")
_POINTS = re.compile(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?")
_COMMA = re.compile(r"\d+,\d{1,2}")  # of a decimal

_LAST_WHOLE = re.compile(r"[-+]?\d+(?=\D*$)")

_HASHES = re.compile(r"####")
_PHRASE = re.compile(
    r"(?i:\banswer)[ \t]{0,3}(?:(?i:\b(?:is|was|equals|would be|will be|should be|comes to)\b)|=|:)[^\S\n]{0,3}:?"
)
_FILLER = re.compile(r"(?:[\s:*_$(]|\\[(\[$]|(?i:\b(?:about|approximately|roughly|exactly|only|just)\b))*+")
_BEGINS = re.compile(r"(?:(?i:minus|negative)\s|-?\\?[$€£]|[-+]?(?:\d|\.\d|\\[dt]?frac)|\w{1,20} ?= ?[-$\\\d])")
_HEADING = re.compile(r"\d+(?:[.)][ \t]+\S|:(?!\d))")  # "#### 3. Add them up"
_ALONE = re.compile(r"[^\sa-zA-Z]+[ \t]*(?:\n|$)")
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|,(?=\s)|\n|\s(?:because|since|as|where|which|when|if)\b")
_MINUS = re.compile(r"^\s*minus\s(?=\s?\S?\d)")
_OPERATION = re.compile(r"\s*(?:[-+*/^\u00f7\u00d7]|x|\\(?:times|cdot|div)(?![a-zA-Z]))\s*[-($\\]{0,2}\d")
_ITEM = re.compile(r"^[ \t]*+A:([^\n]*)$", re.MULTILINE)


def number_answer(text: str) -> str:
    r"""The final answer of a word problem, as a number in its shortest form; ``""`` if there is none.

    Of what `said` leaves, the first of these that it has: the last ``#### N``; the last ``\boxed{}``; the last
    ``<answer>``; the last JSON field ``"answer"``; the last ``answer is N`` or ``answer: N``; the last line ``A: N``;
    the last number of the text. What is in a box, tag or field is the answer, even if it is no number. Of a calculation
    (``20 + 40 = 60``) the result counts, and of several numbers (``18 dollars per day for 7 days``) the first.
    """
    text = _plain_text(said(text))
    found = _behind(_HASHES, text, _after_hashes)
    if found:
        return found
    held = marked(text)
    if held is not None:
        return stated(held)
    lines = _ITEM.findall(text)
    found = _behind(_PHRASE, text, _after_phrase) or (stated(lines[-1]) if lines else "")
    last = None if found else last_match(_NUMBER, text)
    return _value(last) if last else found


def stated(held: str) -> str:
    """The number that a few words, or a right answer, state, in the form of `number_answer`.

    All of them if they are one number, else the first after the last ``=``.
    """
    held = _MINUS.sub("-", _plain_text(held.rpartition("=")[2][:LONGEST]))
    text = normalise(held)
    if as_number(text) is not None:
        return text
    found = _NUMBER.search(held)
    if found and _OPERATION.match(held, found.end()):
        return "".join(held.split())[:_LINE]
    return _value(found) if found else ""


def _plain_text(text: str) -> str:
    """The text with plain digits and signs, nothing between thousands but commas, and hours on the dot as numbers."""
    text = plain_thousands(plain_signs(text))
    text = _BLANK_THOUSANDS.sub(lambda found: found[1] + found[2].replace(" ", ""), text)
    return _ON_THE_DOT.sub("", text)


def _behind(mark: re.Pattern[str], text: str, read: Callable[[str, str, str], str]) -> str:
    """What ``read`` makes of a mark, what fills the space behind it, and the rest; of the last of which it is anything.

    Only a few hundred characters behind a mark are looked at.
    """
    for found in reversed(list(mark.finditer(text))[-_MARKS:]):
        rest = text[found.end() : found.end() + _LINE]
        filler = _FILLER.match(rest)
        value = read(found[0], filler[0], rest[filler.end() :]) if filler else ""
        if value:
            return value
    return ""


def _after_hashes(mark: str, filler: str, rest: str) -> str:
    del mark
    if not _BEGINS.match(rest) or _HEADING.match(rest) or ("\n" in filler and not _ALONE.match(rest)):
        return ""
    return stated(_SENTENCE.split(rest, maxsplit=1)[0])


def _after_phrase(mark: str, filler: str, rest: str) -> str:
    if not _BEGINS.match(rest) or ("\n" in filler and _HEADING.match(rest)):
        return ""
    sentence = _SENTENCE.split(rest, maxsplit=1)[0]
    if mark.rstrip().endswith(":") and "=" in sentence and "=" in rest[len(sentence) :]:
        return ""  # the working begins here, not the answer
    return stated(sentence)


def _value(found: re.Match[str]) -> str:
    """The number of a match, or its text if it is none (``8:30``)."""
    digits, minus = found["digits"], "-" if found["minus"] or found["after"] else ""
    value = None
    if len(digits) <= 4 * MOST_DIGITS:
        value = as_number(normalise("/".join(_plain(part) for part in digits.split("/"))))
    if value is None:
        return minus + digits
    power = _LAST_WHOLE.search(found["power"] or "")
    value *= Fraction(10) ** int(power[0] if power else 0)
    return number_text(-value if minus else value)


def _plain(digits: str) -> str:
    """A number without what separates its thousands, with a point before its decimals."""
    if _THOUSANDS.fullmatch(digits):
        return digits.replace(",", "")
    if _POINTS.fullmatch(digits):
        return digits.replace(".", "").replace(",", ".")
    return digits.replace(",", ".") if _COMMA.fullmatch(digits) else digits
