"""Problems and recorded answers in the files of GSM8K, MATH and those who answered them, made up."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaebench.config.choices import leaf
from vaebench.data.arithmetic import problems
from vaebench.sources.layouts import OPENAI_SOURCES

TRAIN, TEST, ASKED = 240, 24, 12
GSM8K, MATH = "gsm8k", ("math", "math_500", "math_l5")
ANSWERED = ("openai_gsm8k", "zeroeval_gsm", "zeroeval_math_l5")


def write(root: Path) -> None:
    """All of them, below ``root``; what is there already stays."""
    made = problems(name="made_up", train=TRAIN, test=TEST, seed=0, steps=[1, 3], largest=20, most=99)
    train = [_worked(pair.question, pair.solution) for pair in made.train]
    test = [_worked(one.question, f"It is {one.gold}.\n#### {one.gold}") for one in made.test]
    _gsm8k(root, train, test)
    for name in MATH:
        _math(root, leaf("problems", name), train, test)
    for name in ANSWERED:
        _answers(root, leaf("answers", name), test[:ASKED] if "math" in name else test)


def _worked(question: str, solution: str) -> dict[str, str]:
    """A problem in words of its own, so that texts have as many terms as an embedding dimensions."""
    seeded = random.Random(question)
    words = " ".join("".join(map(seeded.choice, ("bdfgklmnprst", "aeiou", "klmnrst"))) for _ in range(8))
    text, _, final = solution.rpartition("####")
    return {"question": f"{question} ({words})", "text": f"{words}. {text.strip()}", "final": final.strip()}


def _gsm8k(root: Path, train: Iterable[Mapping[str, str]], test: Iterable[Mapping[str, str]]) -> None:
    files = leaf("problems", GSM8K)["files"]
    for role, some in (("train", train), ("test", test)):
        worked = ((one["question"], f"{one['text']} <<1+1=2>>\n#### {one['final']}") for one in some)
        lines = [{"question": question, "answer": answer} for question, answer in worked]
        _write(root / GSM8K / files[role]["file"], lines)


def _math(root: Path, said: Mapping[str, Any], train: Iterable[Mapping[str, str]], test: list[dict[str, str]]) -> None:
    def boxed(one: Mapping[str, str]) -> dict[str, str]:
        return {"problem": one["question"], "solution": f"{one['text']} So it is $\\boxed{{{one['final']}}}$."}

    for role, entry in said["files"].items():
        some = {"train": train, "test": test, "asked": test[:ASKED]}[role]
        if role != "asked" or "folder" not in entry:  # which then is a file of answers
            _write(root / entry.get("folder", said["folder"]) / entry["file"], [boxed(one) for one in some])


def _answers(root: Path, said: Mapping[str, Any], test: Iterable[Mapping[str, str]]) -> None:
    """Right and wrong answers by turns, another one of each who is asked."""
    seeded = random.Random(said["name"])

    def reply(one: Mapping[str, str]) -> str:
        final = one["final"] if seeded.random() < 0.5 else str(seeded.randrange(100))
        stated = f"\\boxed{{{final}}}" if "math" in said["name"] else f"#### {final}"
        return f"{one['text']}\nThe answer is {final}.\n{stated}"

    for entry in said["files"].values():
        if said["layout"] == "openai_gsm8k":
            lines: list[Any] = [
                {"question": one["question"], **{name: {"solution": reply(one)} for name in OPENAI_SOURCES}}
                for one in test
            ]
        else:
            lines = [{"question": one["question"], "output": [reply(one)]} for one in test]
        _write(root / said["folder"] / entry["file"], lines)


def _write(path: Path, lines: list[Any]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(lines) if path.suffix == ".json" else "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
