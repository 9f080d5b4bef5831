"""Generated arithmetic word problems: a set without a file, and the same problems as tokens for a small language model.

    Ada has 12 apples. Ben brings 7 more. Then Ada sells 9. How many apples are there?

    12 + 7 = 19
    19 - 9 = 10
    #### 10

They stand in for GSM8K (the form of question, worked solution and final answer) where neither its files nor a language
model of the paper's size can be had. Everything follows from the seed.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval, Len
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vaebench.config.signatures import LARGEST, checked, require
from vaebench.data.batch import Batch, Held
from vaebench.data.problems import Pair, Problem, Problems
from vaebench.errors import UserError

NAMES = ("Ada", "Ben", "Clara", "Daniel", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Lena", "Mateo")
THINGS = ("apples", "books", "cards", "coins", "eggs", "marbles", "pencils", "shells", "stamps", "stickers")
OPENINGS = ("{name} has {number} {things}.", "{name} counts {number} {things}.", "{name} gets {number} {things} today.")
SENTENCES = {
    "+": ("{friend} brings {number} more.", "{name} finds {number} more.", "Then {name} buys {number}."),
    "-": ("{name} gives {friend} {number}.", "Then {name} sells {number}.", "{number} get lost."),
    "*": ("Soon there are {number} times as many.", "{friend} makes it {number} times as many."),
}
QUESTIONS = ("How many {things} does {name} have?", "How many {things} are there?")

# A word or a digit takes the space before it along, so the tokens of a text joined give the text again.
PATTERN = r" ?[A-Za-z]+| ?[0-9]|#+| ?[^\sA-Za-z0-9#]|\s"
SPECIAL = tuple(f"<|{name}|>" for name in ("pad", "unknown", "system", "user", "assistant", "end"))
PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END = SPECIAL
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NOT_SCORED = -100
_Problems = Annotated[int, Interval(ge=1, le=10_000_000)]
_Steps = Annotated[Sequence[Annotated[int, Interval(ge=1, le=100)]], Len(2, 2)]
_Largest = Annotated[int, Interval(ge=9, le=LARGEST)]
_Most = Annotated[int, Interval(ge=9, le=10_000)]  # every possible next number is listed at every step


@dataclass(frozen=True)
class TokenData(Held):
    """Questions with their worked solutions as token ids, padded on the right.

    ``ids`` int64 ``[n t]``; ``scored`` the same with -100 where nothing is to be predicted (question, padding);
    ``lengths`` int64 ``[n]``. ``words``: the tokens, special ones first, in the order of their ids;
    ``pattern``: the regular expression whose matches are a text's tokens; ``chat_template``: how messages become a
    prompt (Jinja).
    """

    name: str
    ids: Tensor
    scored: Tensor
    lengths: Tensor
    words: tuple[str, ...]
    pattern: str
    chat_template: str

    def __len__(self) -> int:
        """The number of problems."""
        return len(self.ids)

    def batch(self, rows: Tensor) -> Batch:
        """The problems in these rows, as wide as the longest of them."""
        width = int(self.lengths[rows].max())
        return Batch(self.ids[rows, :width], self.scored[rows, :width])


@checked("problems")
def problems(
    *, name: str, train: _Problems, test: _Problems, seed: int, steps: _Steps, largest: _Largest, most: _Most
) -> Problems:
    """Training pairs and test problems, all different; no calculation of a test problem is that of a training pair.

    The first training pairs and the test problems are the same however many training pairs are asked for.

    ``train``, ``test``: how many of them. ``seed``: of everything that is drawn. ``steps``: the fewest and the most
    operations of a problem. ``largest``: the numbers stated in a problem are 2 to this (factors 2 to 9). ``most``: no
    result is larger, at least ``largest``. Raises `UserError` if there are not so many different problems.
    """
    ordered = f"problems.steps={list(steps)}: expected the fewest and then the most operations, [1, 3] for one"
    require(
        None if steps[0] <= steps[1] else ordered,
        None if largest <= most else f"problems.largest={largest}: expected at most problems.most={most}",
    )
    held_out = _draw(test, f"{seed} test", steps, largest, most, without=())
    pairs = _draw(train, f"{seed} train", steps, largest, most, without=[solution for _, solution in held_out])
    content = "\n\n".join(f"{question}\n{solution}" for question, solution in [*pairs, *held_out])
    return Problems(
        name,
        tuple(Pair(question, solution) for question, solution in pairs),
        tuple(Problem(f"arithmetic/{n}", question, final_answer(text)) for n, (question, text) in enumerate(held_out)),
        source="embedded",
        digest=hashlib.sha256(content.encode()).hexdigest()[:16],
        note=f"generated arithmetic word problems, seed {seed}",
        stand_in=True,
    )


@checked("problems")
def tokens(
    *, name: str, train: _Problems, test: _Problems, seed: int, steps: _Steps, largest: _Largest, most: _Most
) -> TokenData:
    """The training pairs of `problems` with the same arguments as token ids; the test problems are only kept out."""
    found = problems(name=name, train=train, test=test, seed=seed, steps=steps, largest=largest, most=most)
    words = vocabulary()
    numbers = {word: number for number, word in enumerate(words)}
    rows, scored = [], []
    for pair in found.train:
        prompt = [numbers[piece] for piece in (USER, *split(pair.question), END, ASSISTANT)]
        answer = [numbers[piece] for piece in (*split(pair.solution), END)]
        rows.append(torch.tensor(prompt + answer))
        scored.append(torch.tensor([NOT_SCORED] * len(prompt) + answer))
    return TokenData(
        name,
        pad_sequence(rows, batch_first=True, padding_value=numbers[PAD]),
        pad_sequence(scored, batch_first=True, padding_value=NOT_SCORED),
        torch.tensor([len(row) for row in rows]),
        words=words,
        pattern=PATTERN,
        chat_template=CHAT_TEMPLATE,
        source=found.source,
        digest=found.digest,
        note=found.note,
        stand_in=found.stand_in,
    )


def split(text: str) -> list[str]:
    """The tokens of a text; joined they are the text again."""
    return re.findall(PATTERN, text)


def vocabulary() -> tuple[str, ...]:
    """Every token of every problem that can be drawn: the special ones, then the others sorted."""
    names = {"name": NAMES, "friend": NAMES, "things": THINGS, "number": ("7",)}
    found = {"\n", "####", " =", *(f" {sign}" for sign in SENTENCES)}
    found |= {f"{space}{digit}" for digit in range(10) for space in ("", " ")}
    for template in (*OPENINGS, *QUESTIONS, *(text for texts in SENTENCES.values() for text in texts)):
        for slot, values in names.items():
            for value in values:
                filled = template.format(**{key: (value if key == slot else some[0]) for key, some in names.items()})
                # A sentence begins a question or follows another one.
                found |= {*split(filled), *split(f" {filled}")}
    return (*SPECIAL, *sorted(found))


def final_answer(solution: str) -> str:
    """What stands after ``####`` in the last line."""
    return solution.rpartition("#### ")[2]


def _draw(
    count: int, seed: str, steps: Sequence[int], largest: int, most: int, *, without: Iterable[str]
) -> list[tuple[str, str]]:
    """``count`` different questions with their solutions, none of which is in ``without``."""
    generator = random.Random(seed)
    excluded = set(without)
    found: dict[str, str] = {}
    tries = 0
    while len(found) < count:
        question, solution = _problem(generator, generator.randint(*steps), largest, most)
        if solution not in excluded:
            found[question] = solution
        tries += 1
        if tries > 20 * count + 10_000:
            raise UserError(
                f"problems: only {len(found)} different ones in {tries} draws; "
                "ask for fewer, or raise problems.largest or problems.most"
            )
    return list(found.items())


def _problem(generator: random.Random, steps: int, largest: int, most: int) -> tuple[str, str]:
    """One question and its worked solution."""
    name, friend = generator.sample(NAMES, 2)
    words = {"name": name, "friend": friend, "things": generator.choice(THINGS)}
    total = generator.randint(2, largest)
    sentences = [generator.choice(OPENINGS).format(number=total, **words)]
    lines = []
    for _ in range(steps):
        sign, number, result = _operation(generator, total, largest, most)
        sentences.append(generator.choice(SENTENCES[sign]).format(number=number, **words))
        lines.append(f"{total} {sign} {number} = {result}")
        total = result
    sentences.append(generator.choice(QUESTIONS).format(**words))
    return " ".join(sentences), "\n".join([*lines, f"#### {total}"])


def _operation(generator: random.Random, total: int, largest: int, most: int) -> tuple[str, int, int]:
    """Sign, number and result of a step from ``total``, which stays within 1 and ``most``."""
    possible = [("+", number, total + number) for number in range(2, min(largest, most - total) + 1)]
    fewer = [("-", number, total - number) for number in range(2, min(largest, total - 1) + 1)]
    times = [("*", number, total * number) for number in range(2, min(9, most // total) + 1)]
    return generator.choice(generator.choice([choices for choices in (possible, fewer, times) if choices]))
