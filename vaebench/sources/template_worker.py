"""Renders chat templates in a process of its own: `vaebench.metrics.bounded` runs this file.

A template is a program of the model's author. Jinja's sandbox keeps it from reaching out, not from looping for ever or
from asking for all memory: here it has so many seconds of processor time and so many bytes, and then the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

_SECONDS = 5.0  # of processor time, for one conversation
_MEMORY = 1 << 30  # bytes of addresses, beside what is taken already
_LONGEST = 10_000_000  # characters of a prompt

Message = dict[str, str]


def main() -> None:
    """Say that it is ready, then answer line by line: the prompt and nothing, or nothing and what went wrong."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    out.write("null\n")
    out.flush()
    for line in sys.stdin:
        _, question = json.loads(line)
        out.write(json.dumps(_answer(**question)) + "\n")
        out.flush()


def _answer(template: str, messages: list[Message], variables: dict[str, Any], library: bool) -> tuple[str, str]:
    from jinja2 import TemplateError

    render = _by_transformers() if library else _by_sandbox
    _limit_memory()
    _timer(_SECONDS)
    try:
        text = render(template, messages, variables)
    except TemplateError as error:
        return "", _line(error)
    except Exception as error:  # it can fail in as many ways as a program can
        return "", f"{type(error).__name__}: {_line(error)}"
    finally:
        _timer(0)
    return (text, "") if len(text) <= _LONGEST else ("", f"makes a prompt of {len(text):,} characters")


def _by_sandbox(template: str, messages: list[Message], variables: dict[str, Any]) -> str:
    """By Jinja's sandbox with the settings of transformers."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    made = environment.from_string(template)
    return made.render(messages=messages, add_generation_prompt=True, **variables)


def _by_transformers() -> Any:
    """As a tokenizer does it, with all that transformers gives to a template."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(template: str, messages: list[Message], variables: dict[str, Any]) -> str:
        found: Any = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **variables)
        return str(found[0][0])  # of the first list: the prompts

    return render


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _limit_memory() -> None:
    try:
        import resource
        from pathlib import Path

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # Windows, macOS
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, most))


def _timer(seconds: float) -> None:
    """End this process after so many seconds of processor time, whatever it is doing; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
