r"""Final answers written in LaTeX: where they stand in a text, and one text for all ways to write the same answer.

The rules are those of Hendrycks et al. (arXiv 2103.03874, ``math_equivalence``), and what they leave out: numbers are
compared as numbers, so that ``0.50``, ``1/2`` and ``\frac12`` are one answer. Nothing here is evaluated, and every step
takes time linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, localcontext
from fractions import Fraction

MOST_DIGITS = 40  # of a number that is compared as a number; a longer one stays the text it is

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BARE = re.compile(r"[^\s$\\{}]+")
# "answer": "5", "answer": 5, and what comes of the former in careless hands: answer": "5", **Answer**: "5".
_FIELD = re.compile(
    r'(?i:\banswer)(?:["*`]{0,4}\s{0,9}:[*`]{0,4}\s{0,9}"(?!answer")((?:[^"\\]|\\.)*)"|"\s{0,9}:\s{0,9}([^",}\n]*))',
    re.DOTALL,
)

_MINUS = dict.fromkeys(map(ord, "\u2212\u2012\u2013\uff0d\ufe63"), "-")
_SIGNS = _MINUS | {ord("π"): r"\pi", ord("∞"): r"\infty", ord("°"): "", 0xD7: r"\times"}
_SPACES = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # that separate thousands
_OTHER = re.compile(r"[^\x00-\x7f]")

# In this order; an empty text removes. The first group is what Hendrycks et al. replace.
_REPLACED = (
    *(("\n", " "), (r"\!", ""), (r"\tfrac", r"\frac"), (r"\dfrac", r"\frac"), (r"\cfrac", r"\frac")),
    *((r"\left", ""), (r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), (r"\$", ""), (r"\%", ""), ("%", "")),
    *(("{,}", ","), (r"\,", ""), (r"\;", ""), (r"\:", ""), ("$", ""), (r"\(", ""), (r"\)", "")),
    *((r"\displaystyle", ""), (r"\mathrm", r"\text"), (r"\textbf", r"\text"), (r"\mbox", r"\text")),
    *((r"\textrm", r"\text"), (r"\mathbf", r"\text"), (" .", " 0."), ("{.", "{0.")),
)
_UNIT = re.compile(r"(?<=[\d}])\s*\\text\s*\{[^{}]*\}(?:\^\{?\d\}?)?$|(?<=.)\\text\{ .*$", re.DOTALL)
_SPACE = re.compile(r"(?<!\\)\\ ")
_AND = re.compile(r"\\text\s*\{\s*(?:and|or)\s*\}")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_NAME = re.compile(r"^[^=]{1,2}=(?=[^=]*$)")
_CHAIN = re.compile(r"^(?:\\(?:frac|cdot|times|div|sqrt)(?![a-zA-Z])|[^a-zA-Z\\,;<>])+=(?=[^,;=]+$)")
_ROOT = re.compile(r"\\sqrt([^{\[\\])")
_SPELT_ROOT = re.compile(r"(?:√|(?<![\\a-zA-Z])sqrt)(?:\(([^()]*)\)|(\d+))")
_HALVES = re.compile(r"\\frac(?:\{([^{}]*)\}|([^{}\\]))(?:\{([^{}]*)\}|([^{}\\]))")
_WORDS = re.compile(
    r"(?<=\d)(?:square|cubic)?(?:units?|inch(?:es)?|feet|foot|ft|yards?|miles?|mph|cm|mm|km|meters?|metres?|kg|grams?|"
    r"pounds?|lbs?|ounces?|dollars?|cents?|degrees?|percent|seconds?|minutes?|hours?|days?|weeks?|months?|years?|people|"
    r"students?|points?|ways)(?:\^\{?\d\}?)?$",
    re.IGNORECASE,
)

_NOTHING = ("none", "null", "n/a")

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<mixed>\d+)(?=\\frac))?"
    rf"(?:(?P<whole>{_PLAIN})|\\frac\{{(?P<over>-?{_PLAIN})\}}\{{(?P<under>-?{_PLAIN})\}}"
    rf"|(?P<left>{_PLAIN})/(?P<right>{_PLAIN}))"
)


def plain_signs(text: str) -> str:
    """The text with every kind of digit as 0 to 9 and every kind of minus sign as ``-``."""
    if text.isascii():
        return text
    text = _SPACES.sub("", text.translate(_MINUS))
    return _OTHER.sub(lambda sign: str(unicodedata.decimal(sign[0], sign[0])), text)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Where a pattern occurs last; occurrences are counted from the left."""
    found = None
    for found in pattern.finditer(text):  # noqa: B007 (the last one is what is asked for)
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
    """What the last JSON field ``"answer"`` holds, escapes as they stand; None without one.

    The text around it need not be valid JSON; quotes around ``answer`` may be missing if its value has them.
    """
    field = last_match(_FIELD, text)
    return None if field is None else (field[1] or field[2] or "").strip()


def marked(text: str) -> str | None:
    r"""The last ``\boxed{}`` or, if the text has no box, the last JSON field ``"answer"``; None without either."""
    return last_box(text) if _BOX.search(text) else last_field(text)


def normalise(latex: str) -> str:
    r"""One text for all ways to write an answer; empty if there is none (``None``, ``___``).

    `tidy`, and besides, of Hendrycks et al.: ``x = 5`` is 5, ``\sqrt3`` is ``\sqrt{3}``, ``\frac12`` is
    ``\frac{1}{2}``, spaces do not count. Beyond them: units without ``\text``, mixed numbers, ``3 + 4 = 7``, and
    numbers in their shortest form (`number_text`).
    """
    text = _TEXT.sub(r"\1", tidy(latex)).replace(" ", "").rstrip(".")
    text = _CHAIN.sub("", _NAME.sub("", text))
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = _HALVES.sub(lambda f: rf"\frac{{{f[1] or f[2] or ''}}}{{{f[3] or f[4] or ''}}}", text)
    text = _WORDS.sub("", text)
    if text.lower() in _NOTHING or not any(sign.isalnum() or sign == "\\" for sign in text):
        return ""
    number = as_number(text)
    return text if number is None else number_text(number)


def tidy(latex: str) -> str:
    r"""LaTeX that means the same, without what does not count.

    Of Hendrycks et al.: line breaks, ``\!``, ``\left`` and ``\right``, degrees, dollars, percent and units go away;
    ``tfrac`` and ``dfrac`` are ``frac``; doubled backslashes (JSON) are single. Beyond them: digits and minus signs of
    other scripts, thousands separators, roots written ``sqrt(2)``, fonts.
    """
    text = plain_signs(latex.strip()).translate(_SIGNS)
    if "matrix}" not in text or r"\\begin" in text:  # elsewhere two backslashes end a row
        text = text.replace("\\\\", "\\")
    for old, new in _REPLACED:
        text = text.replace(old, new)
    text = _SPACE.sub(" ", text).strip()
    text = _SPELT_ROOT.sub(lambda root: rf"\sqrt{{{root[1] or root[2] or ''}}}", text)
    return _UNIT.sub("", _AND.sub(",", text))


def as_number(text: str) -> Fraction | None:
    r"""The number that a text is: ``-1,000``, ``.5``, ``1/2``, ``\frac{1}{2}``, ``1\frac{1}{2}``; else None."""
    found = _NUMBER.fullmatch(text) if len(text) <= 4 * MOST_DIGITS else None
    if found is None:
        return None
    over, under = found["over"] or found["left"] or found["whole"], found["under"] or found["right"] or "1"
    parts = [_exact(part) for part in (over, under, found["mixed"] or "0")]
    if any(part is None for part in parts) or not parts[1]:
        return None
    value = parts[2] + parts[0] / parts[1]  # type: ignore[operator]
    return -value if found["sign"] == "-" else value


def number_text(number: Fraction) -> str:
    """The shortest exact text of a number: ``18``, ``-0.5`` and, where a decimal has no end, ``1/3``."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if number.denominator == 1 or rest != 1:
        return str(number)
    with localcontext(prec=20 * MOST_DIGITS):  # more than the places of any fraction of so many digits
        return f"{(Decimal(number.numerator) / number.denominator).normalize():f}"


def _exact(digits: str | None) -> Fraction | None:
    cleaned = (digits or "").replace(",", "")
    if not any(sign.isdigit() for sign in cleaned) or len(cleaned) > MOST_DIGITS:
        return None
    return Fraction(cleaned)
