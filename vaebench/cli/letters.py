"""Letters that a terminal may not have, in ASCII: what is printed is readable everywhere."""

from __future__ import annotations

import codecs
import unicodedata

ERRORS = "vaebench.spelled"  # what streams do with such letters, by the name that Python knows it by
_WORDS = {
    **{"±": "+/-", "\u00d7": "x", "·": "*", "÷": "/", "≈": "~", "≠": "!=", "≤": "<=", "≥": ">=", "√": "sqrt"},
    **{"→": "->", "←": "<-", "↑": "(up)", "↓": "(down)", "…": "...", "•": "*", "°": " deg", "µ": "u", "∞": "inf"},
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),  # hyphens, dashes, minus
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **{"€": "EUR", "£": "GBP"},
    **{"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"},
}


def spelled(text: str, encoding: str) -> str:
    """The text in letters that the encoding has: ``±`` as ``+/-``, a Greek letter as its name, at worst as ``?``."""
    if text.isascii():
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else _in_ascii(c) for c in text)
    return text


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _in_ascii(letter: str) -> str:
    if letter in _WORDS:
        return _WORDS[letter]
    if unicodedata.name(letter, "").startswith("GREEK"):
        name = unicodedata.name(letter).partition(" WITH ")[0].split()[-1]
        return name.capitalize() if letter.isupper() else name.lower()
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.combining(letter) else "?")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """As a handler of codecs: it is given what a stream could not encode."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


codecs.register_error(ERRORS, _replaced)
