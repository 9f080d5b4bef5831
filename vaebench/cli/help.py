"""``vaebench VERB --help``: what a command is for, three examples, its options with their defaults."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import MISSING
from typing import Any

from vaebench.config.spine import ReproduceConfig, TrainConfig, options

_CHOSEN = "model dataset optim scale experiment reference embedder tracker executor".split()
_OF_TABLES = {"reproduce": ["tracker=", "executor="], "compare": ["tracker=", "executor="], "plan": ["executor="]}
_WIDTH = 100
_WORDS: dict[Any, str] = {None: "null", True: "true", False: "false", "???": ""}
# Of each command: what it does, and what one types to begin with.
ABOUT = {
    "train": (
        "Train one model. The run is stored under a key made of all that decides its numbers; it is made once.",
        "vaebench train model=batchtopk dataset=mnist",
        "vaebench train experiment=batchtopk/batchtopk_64_8 scale=paper seed=3",
        "vaebench train -m model=batchtopk model.k=2,4,8 seed=0,1,2",
    ),
    "eval": (
        "Evaluate the run that `train` makes with the same options, or one that is there (run=KEY).",
        "vaebench eval model=batchtopk suite=noise",
        "vaebench eval -m run=4f1c,0ccf suite=noise,reconstruction",
        "vaebench eval model=fsp dataset=cifar10 dataset@test_on=mnist_32 suite=tokens",
    ),
    "answers": (
        "Collect or generate a language model's answers to a set of problems, or show those that are there.",
        "vaebench answers dataset=tiny",
        "vaebench answers dataset=recorded dataset.answers.path=FILE",
        "vaebench answers dataset=gsm8k answers@dataset.answers=smollm2_135m",
    ),
    "prompt": (
        "Show the exact prompt of the first problem and the sampling parameters. Nothing is generated.",
        "vaebench prompt dataset=gsm8k",
        "vaebench prompt dataset=math answers@dataset.answers=llama",
        "vaebench prompt dataset=gsm8k dataset.answers.decoding=top_p",
    ),
    "reproduce": (
        "Reproduce the tables of papers: train every row, measure every cell, write tables with verdicts.",
        "vaebench reproduce paper=batchtopk scale=small",
        "vaebench reproduce paper=vpvae table=table1_images row=vq_vae_256,vq_ema_256 seeds=5",
        "vaebench reproduce paper=dmvae seeds=auto budget=2h",
    ),
    "compare": (
        "Put rows of your own into a paper's table and judge how they compare.",
        "vaebench compare paper=batchtopk table=table1 row=beta_vae,batchtopk with='model=mine'",
        "vaebench compare paper=batchtopk table=table1 with='K=16: experiment=batchtopk/batchtopk_64_8 model.k=16'",
        "vaebench compare paper=mine.yaml table=table1 with='model=ae' with='model=vae' seeds=5",
    ),
    "plan": (
        "Say what `reproduce` would do here, and how long it takes; at scale=paper also what each training costs.",
        "vaebench plan",
        "vaebench plan paper=ldmae scale=small",
        "vaebench plan paper=ldmae scale=paper measure=false",
    ),
    "report": (
        "Write tables and pictures again from what is stored. Nothing is computed.",
        "vaebench report",
        "vaebench report paper=dmvae",
        "vaebench report results=FOLDER",
    ),
    "list": (
        "Show what can be chosen and what has been run.",
        "vaebench list models suites",
        "vaebench list runs where=model=vae where=status=failed columns=run,what,reason",
        "vaebench list runs sort=-seed --json",
    ),
    "runs": (
        "Show, remove, pack or unpack single runs, named by the beginning of their key; push and pull a store's.",
        "vaebench runs show 4f1c",
        "vaebench runs pack 4f1c beta.zip",
        "vaebench runs push s3://bucket/runs",
    ),
    "export": (
        "Write a trained model into a folder that others load, and push it to the Hugging Face hub if asked to.",
        "vaebench export 4f1c --to beta-vae",
        "vaebench export 4f1c --to=~/models/beta-vae",
        "vaebench export 4f1c --to beta-vae --push my-group/beta-vae --private",
    ),
    "data": (
        "Where the datasets are: look, download, compare checksums.",
        "vaebench data status",
        "vaebench data fetch mnist",
        "vaebench data verify mnist cifar10",
    ),
    "new": (
        "Write a package of your own that works, to be changed.",
        "vaebench new model mine",
        "vaebench new suite sharpness",
        "vaebench new paper my_paper",
    ),
    "completion": (
        "Print what completes commands, choices and options in your shell.",
        'eval "$(vaebench completion bash)"',
        'eval "$(vaebench completion zsh)"',
        "vaebench completion fish > ~/.config/fish/completions/vaebench.fish",
    ),
}


def of(verb: str) -> str:
    """The text for one command."""
    what, *examples = ABOUT[verb]
    lines = [f"vaebench {verb}: {what[0].lower()}{what[1:]}", "", *(f"  {example}" for example in examples)]
    if verb in ("train", "eval", "answers", "prompt"):
        chosen = [*_CHOSEN, *(["suite", "dataset@test_on", "run"] if verb == "eval" else [])]
        lines += ["", *_wrapped("Chosen by name (`vaebench list`):", (f"{name}=" for name in chosen))]
        lines += _wrapped("Options of what is chosen:", ("model.OPTION=", "dataset.OPTION=", "optim.OPTION="))
        lines += _wrapped("Options, with their defaults:", _defaults(TrainConfig))
    elif verb in ("reproduce", "compare", "plan", "report"):
        chosen = _OF_TABLES.get(verb, [])
        lines += ["", *(_wrapped("Chosen by name (`vaebench list`):", chosen) if chosen else [])]
        lines += _wrapped("Options, with their defaults:", _defaults(ReproduceConfig))
    return "\n".join([*lines, "", "`vaebench --help` shows all commands; docs/ what they mean.", ""])


def _wrapped(title: str, words: Iterable[str]) -> list[str]:
    text = "  ".join(words)
    return [title, *textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)]


def _defaults(spec: type) -> Iterable[str]:
    """``option=default`` of every typed field."""
    for name, one in options(spec):
        made = one.default if one.default_factory is MISSING else ""
        word = _WORDS.get(made, made) if made is None or isinstance(made, str | bool) else made
        yield f"{name}={word if isinstance(word, str | int | float) else ''}"
