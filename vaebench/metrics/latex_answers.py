r"""Final answers written in LaTeX: one text for all ways to write the same answer.

The rules are those of Hendrycks et al. (arXiv 2103.03874, ``math_equivalence``), and what they leave out: numbers are
compared as numbers, so that ``0.50``, ``1/2`` and ``\frac12`` are one answer. Nothing here is evaluated, and every step
takes time linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, localcontext
from fractions import Fraction

LONGEST = 1_000  # characters of an answer that is brought into its normal form; a longer one stays the text it is
MOST_DIGITS = 40  # of a number that is compared as a number; a longer one stays the text it is

_MINUS = dict.fromkeys(map(ord, "\u2212\u2012\u2013\uff0d\ufe63"), "-")
_COMMANDS = {"π": "pi", "θ": "theta", "∞": "infty", "\u00d7": "cdot", "·": "cdot", "÷": "div", "±": "pm"}
_COMMANDS |= {"\u222a": "cup", "∩": "cap", "≤": "le", "≥": "ge", "≠": "ne", "∈": "in", "∅": "emptyset"}
_SIGNS = _MINUS | {ord("°"): ""} | {ord(sign): rf"\{name} " for sign, name in _COMMANDS.items()}
_SPACES = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # that separate thousands

# In this order; an empty text removes. The first group is what Hendrycks et al. replace.
_REPLACED = (
    *(("\n", " "), (r"\!", ""), (r"\tfrac", r"\frac"), (r"\dfrac", r"\frac"), (r"\cfrac", r"\frac")),
    *((r"\left", ""), (r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), (r"\$", ""), (r"\%", ""), ("%", "")),
    *(("{,}", ","), (r"\,", ""), (r"\;", ""), (r"\:", ""), ("$", ""), (r"\(", ""), (r"\)", ""), ("**", ""), ("~", " ")),
    *((r"\displaystyle", ""), (r"\mathrm", r"\text"), (r"\textbf", r"\text"), (r"\mbox", r"\text")),
    *((r"\textrm", r"\text"), (r"\mathbf", r"\text"), (r"\textnormal", r"\text"), (r"\textit", r"\text")),
    *((r"\qquad", " "), (r"\quad", " "), (r"\lbrace", r"\{"), (r"\rbrace", r"\}")),
    *(("bmatrix}", "pmatrix}"), (r"\\\end{", r"\end{"), (r"\varnothing", r"\emptyset")),
    *(("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne ")),
)
_SYNONYMS = {"leq": r"\le", "leqslant": r"\le", "geq": r"\ge", "geqslant": r"\ge", "neq": r"\ne", "lt": "<", "gt": ">"}
_SYNONYMS |= dict.fromkeys(("big", "bigl", "bigr", "Big", "Bigl", "Bigr", "bigg", "Bigg", "limits"), "")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_POINT = re.compile(r"(?<![\d.])\.(?=\d)")
_TIMES = re.compile(r"\*|\\times(?![a-zA-Z])")
_THOUSANDS = re.compile(r"(?<=\d)(?: ?\{, ?\}| ?\\,|,? ?(?:\\!)+) ?(?=\d{3}(?!\d))")
_UNIT = re.compile(r"(?<=[\d}])\s*\\text\s*\{[^{}]*\}(?:\^\{?\d\}?)?$|(?<=.)\\text\{ .*$", re.DOTALL)
_ORDINAL = re.compile(r"(?<=\d)(?:\^\s?\{?\s?)?\\text\s*\{\s*(?:st|nd|rd|th)\s*\}\}?")
_SPACE = re.compile(r"(?<!\\)\\ ")
_AND = re.compile(r"\\text\s*\{\s*(?:and|or|,)\s*\}|(?<=[\d}),]) (?:and|or) (?=[-\d\\(])")
_COMMAS = re.compile(r",(?: ?,)+")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MIXED = re.compile(r"(?<![\w.,/^{}_])(\d++) (\d++)/(\d++)(?![\d/])")
_EXPONENT = re.compile(r"(?<![\w.])(\d++\.?\d*)[eE]\+?(-?\d{1,2})(?![\w.])")
_SCRIPT = re.compile(r"([_^]) ?(?:\{ ?(-?\d+|[a-zA-Z]) ?\}|(-?\d+|[a-zA-Z]))")
_BLANKS = re.compile(r"(\\[a-zA-Z]+) +(?=[a-zA-Z])|(?<=\d)(,) +(?=\d{3}(?!\d))| +")
_NAME = re.compile(r"^(?:[^=<>]{1,2}|\\[a-zA-Z]+)=(?=[^=]*$)|^[a-zA-Z]\\in(?![a-zA-Z])")
_CHAIN = re.compile(r"^(?:[a-zA-Z]=)?(?:\\(?:frac|cdot|div|sqrt)(?![a-zA-Z])|[^a-zA-Z\\,;<>])+=(?=[^,;=]+$)")
_ROOT = re.compile(r"\\sqrt(\[[^\[\]{}]*\])? ?(?:\(([^()]*)\)|([^{}\[\\( ]))")
_SPELT_ROOT = re.compile(r"(?:√|(?<![\\a-zA-Z])sqrt)(?:\(([^()]*)\)|(\d+))")
_HALVES = re.compile(r"\\frac ?(?:\{([^{}]*)\}|([^{}\\ ]))(?:\{([^{}]*)\}|([^{}\\]))")
_SLASH = re.compile(r"^(-?)([^/+\-(),=<>\[\]]+)/(\d+|[a-zA-Z])$")
_NEGATIVE = re.compile(r"^\\frac\{-([^{}+-]+)\}")
_PRODUCT = re.compile(r"(?<=\d)\\cdot ?(?=[a-zA-Z(]|\\(?!frac|cdot))")
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_WORDS = re.compile(
    r"(?<=[\d}])(?:square|cubic|sq\.?|cu\.?)?(?:units?|inch(?:es)?|feet|foot|ft|yards?|miles?|mph|cm|mm|km|gm|kg|meters?|"
    r"metres?|centimeters?|kilometers?|grams?|kilograms?|pounds?|lbs?|ounces?|gallons?|lit(?:er|re)s?|cups?|dollars?|"
    r"cents?|degrees?|percent(?:age)?|pct|seconds?|minutes?|hours?|days?|weeks?|months?|years?|people|students?|points?|"
    r"ways|digits?|integers|tickets?|meals?|edges?|multiples)(?:\^\{?\d\}?)?$",
    re.IGNORECASE,
)
_NOTHING = ("none", "null", "n/a")
_UNLIKE = re.compile(r"\+|0\d")  # a summand, or the thousands of a number
_PIECES = re.compile(r"([,;()\[\]&=<>]|\\[{}]|\\\\|\\(?:begin|end)\{pmatrix\}|\\(?:cup|cap|le|ge|ne)(?![a-zA-Z]))")

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<mixed>\d+)(?=\\frac))?"
    rf"(?:(?P<whole>{_PLAIN})(?:\\cdot10\^\{{(?P<power>-?\d{{1,2}})\}})?"
    rf"|\\frac\{{(?P<over>-?{_PLAIN})\}}\{{(?P<under>-?{_PLAIN})\}}"
    rf"|(?P<left>{_PLAIN})/(?P<right>{_PLAIN}))"
)


def plain_signs(text: str) -> str:
    """The text with every kind of digit as 0 to 9 and every kind of minus sign as ``-``."""
    if text.isascii():
        return text
    text = _SPACES.sub("", text.translate(_MINUS))
    return text.translate({ord(sign): str(unicodedata.decimal(sign, sign)) for sign in set(text) if sign > "\x7f"})


def plain_thousands(text: str) -> str:
    r"""The text without what LaTeX puts between thousands: ``9{,}500``, ``9\,500`` and ``9,\!500`` are 9500."""
    return _THOUSANDS.sub("", text)


def normalise(latex: str) -> str:
    r"""One text for all ways to write an answer; empty if there is none (``None``, ``___``). It is LaTeX again.

    `tidy`, and besides, of Hendrycks et al.: ``x = 5`` is 5, ``\sqrt3`` is ``\sqrt{3}``, ``\frac12`` is
    ``\frac{1}{2}``, spaces do not count. Beyond them: units without ``\text``, mixed numbers, ``3 + 4 = 7``, indices
    with and without braces, ``(B)`` and B, ``\pi/2`` and ``\frac{\pi}{2}``, and numbers in their shortest form
    (`number_text`), alone or in a list, a tuple, an interval or a matrix. ``1, 234`` is a list, ``1,234`` a number.
    """
    if len(latex) > LONGEST:
        return "".join(latex.split())
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", _EXPONENT.sub(r"\1\\cdot10^{\2}", _TEXT.sub(r"\1", tidy(latex))))
    text = _SCRIPT.sub(r"\1{\2\3}", text)
    text = _BLANKS.sub(lambda blank: f"{blank[1] or blank[2]} " if blank[0].strip() else "", text)
    text = text.strip(" ").rstrip(".,;:")
    while text.startswith("{") and text.endswith("}") and "{" not in text[1:]:
        text = text[1:-1]
    text = _CHAIN.sub("", _NAME.sub("", text))
    text = _HALVES.sub(r"\\frac{\1\2}{\3\4}", _ROOT.sub(r"\\sqrt\1{\2\3}", text))
    text = _PRODUCT.sub("", _WORDS.sub("", text))
    if text.lower() in _NOTHING or not any(sign.isalnum() or sign == "\\" for sign in text):
        return ""
    number = as_number(text)
    if number is not None:
        return number_text(number)
    text = _NEGATIVE.sub(r"-\\frac{\1}", _SLASH.sub(r"\1\\frac{\2}{\3}", text))
    choice = _CHOICE.fullmatch(text)
    return choice[1] if choice else _numbers(text)


def tidy(latex: str) -> str:
    r"""LaTeX that means the same, without what does not count.

    Of Hendrycks et al.: line breaks, ``\!``, ``\left`` and ``\right``, degrees, dollars, percent and units go away;
    ``tfrac`` and ``dfrac`` are ``frac``; doubled backslashes (JSON) are single. Beyond them: digits and minus signs of
    other scripts, thousands separators, roots written ``sqrt(2)``, fonts, other names of the same sign.
    """
    text = plain_signs(latex.strip()).translate(_SIGNS)
    if "matrix}" not in text or r"\\begin" in text:  # elsewhere two backslashes end a row
        text = text.replace("\\\\", "\\")
    text = plain_thousands(text)
    for old, new in _REPLACED:
        text = text.replace(old, new)
    text = _COMMAND.sub(lambda name: _SYNONYMS.get(name[1], name[0]), _TIMES.sub(r"\\cdot ", text))
    text = " ".join(_POINT.sub("0.", _SPACE.sub(" ", text)).split())
    text = _SPELT_ROOT.sub(r"\\sqrt{\1\2}", _ORDINAL.sub("", text))
    return _UNIT.sub("", _COMMAS.sub(",", _AND.sub(",", text)))


def as_number(text: str) -> Fraction | None:
    r"""The number that a text is, else None: ``-1,000``, ``.5``, ``1/2``, ``\frac{1}{2}``, ``1\frac{1}{2}``.

    ``1.5\cdot10^{3}`` is one too. ``1\frac{3}{2}`` is none: it may be a product.
    """
    found = _NUMBER.fullmatch(text) if len(text) <= 4 * MOST_DIGITS else None
    if found is None:
        return None
    over = found["over"] or found["left"] or found["whole"]
    under = next((part for part in (found["right"], found["under"]) if part is not None), "1")
    top, bottom, whole = (_exact(part) for part in (over, under, found["mixed"] or "0"))
    if top is None or not bottom or whole is None or (found["mixed"] and not 0 <= top < bottom):
        return None
    value = (whole + top / bottom) * Fraction(10) ** int(found["power"] or 0)
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


def _numbers(text: str) -> str:
    """The text with the numbers of a list, a tuple, an interval or a matrix in their shortest form."""
    pieces = _PIECES.split(text)
    for place in range(0, len(pieces), 2):  # a bracket before may be a factor, so a sign behind it is an operation
        behind = pieces[place - 1] if place else ""
        kept = behind in (")", "]") or _UNLIKE.match(pieces[place])
        number = None if kept else as_number(pieces[place])
        if number is not None:
            pieces[place] = number_text(number)
    return "".join(pieces)
