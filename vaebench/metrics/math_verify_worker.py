r"""Compares expressions with math-verify, in a process of its own: `vaebench.metrics.bounded` runs this file.

What is never evaluated, and how that is made sure (math-verify 0.9.0, latex2sympy2_extended 1.11.0):

- The ANTLR grammar of latex2sympy2_extended builds SymPy objects node by node, but makes its numbers by
  ``sympy.Number(text)``, which ends in SymPy's ``parse_expr`` and so in Python's ``eval``. ``ExprExtractionConfig``
  hands the digits and operators that it finds in prose to ``parse_expr`` too. So ``parse_expr`` is replaced, before a
  model's text is looked at, by a function that knows numbers and refuses all else; what it refuses is found as a text,
  and compared as LaTeX.
- SymPy writes and runs code of its own. An audit hook refuses to compile or run code that comes from no file, and to
  start programs: what needs that counts as not equal. The products of monomials, written for a number of variables, are
  let through.

Powers and factorials stay unevaluated when parsed, but comparing may evaluate them (``10^{10^{10}}``, ``99999999!``):
an alarm ends this process then. It counts processor time, so a busy machine changes no verdict. Memory is limited.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_PLAIN_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,9})?")
# Comparisons that make SymPy import what it only imports when needed: there it parses texts of its own.
_LOADS = (
    ("x^2+2x+1", "(x+1)^2"),
    ("x>2", "2<x"),
    ("y=2x+1", "2x-y=-1"),
    (r"\frac{1}{\sqrt{2}}", r"\sin(\pi/4)"),
    (r"\{1,2\}\cup[3,4)", r"x\in[3,4)"),
    (r"\begin{pmatrix}1\\x\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\sum_{i=1}^{n} i", r"\int_0^1 x dx"),
    (r"\log_2 8", r"2^{x}"),
)
_MOST_MEMORY = 4 << 30  # bytes of addresses
_MAKES_MONOMIALS = os.path.join("sympy", "polys", "monomials.py")  # noqa: PTH118 (how frames name their files)
_NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect")


def main() -> None:
    """Say that math-verify is there, or that it is not, then answer line by line until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        judges = _judges()
    except ImportError as error:
        out.write(json.dumps(str(error)) + "\n")
        out.close()
        return
    _limit_memory()
    sys.addaudithook(_refuse)
    out.write("null\n")
    out.flush()
    for line in sys.stdin:
        seconds, (what, *texts) = json.loads(line)
        _alarm(seconds)
        answer = judges[what](*texts)
        _alarm(0)
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _judges() -> dict[str, Callable[..., Any]]:
    """``find``: the last formula or number of a text, ``""`` if there is none; ``compare``: whether two are equal.

    Raises ImportError.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, parser, verify

    formula, prose = [LatexExtractionConfig()], [LatexExtractionConfig(), ExprExtractionConfig()]
    read = lru_cache(maxsize=256)(lambda latex: parse(f"${latex}$", formula, parsing_timeout=None))

    def find(text: str) -> str:
        try:
            parts = parse(text, prose, parsing_timeout=None)
        except Exception:  # what cannot be read is not found
            return ""
        return next((part for part in reversed(parts) if isinstance(part, str)), "")

    def compare(gold: str, answer: str) -> bool:
        try:
            return bool(verify(read(gold), read(answer), timeout_seconds=None))
        except Exception:  # what cannot be compared is wrong
            return False

    for gold, text in _LOADS:
        compare(gold, text)
        find(f"It is ${text}$, or 2/3.")
    parser.parse_expr = parser.sympy.parsing.sympy_parser.parse_expr = _only_numbers
    read.cache_clear()
    return {"find": find, "compare": compare}


def _only_numbers(text: str, *args: Any, **options: Any) -> Any:
    """Stands in for SymPy's ``parse_expr``: an Integer or a Float, of a plain number; else raises SyntaxError."""
    del args, options
    from math_verify.parser import sympy

    if not _PLAIN_NUMBER.fullmatch(text):
        raise SyntaxError("not a plain number")
    return sympy.Integer(int(text)) if text.lstrip("-").isdigit() else sympy.Float(text)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Raise when anything but a file's code is to be compiled or run, or a program to be started."""
    name = ""
    if event == "compile":
        name = str(args[1])
    elif event == "exec":
        name = args[0].co_filename
    unwritten = name.startswith("<") and not name.startswith("<frozen ")
    if event in _NEVER or (unwritten and not sys._getframe(1).f_code.co_filename.endswith(_MAKES_MONOMIALS)):
        raise RuntimeError(f"{event} {name} is not allowed here")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def _alarm(seconds: float) -> None:
    """End this process after so many seconds of computing, whatever it is doing; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
