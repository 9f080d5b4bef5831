"""Malformed commands, generated: each is refused in one line with exit code 2; test_cli_words.py has the legal ones.

Nothing is computed: where a command would run its first job, the executor says so and stops it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from vaebench.cli import main as cli
from vaebench.config import compose
from vaebench.config.choices import leaf
from vaebench.config.spine import ReproduceConfig, TrainConfig
from vaebench.config.spine import typed_fields as fields_of

FAST = 6  # commands of each kind in the fast test; the slow one takes all of them
BASE = {
    "train": ["dataset=digits", "scale=smoke", "train.max_steps=1"],
    "eval": ["dataset=digits", "scale=smoke", "train.max_steps=1", "suite=reconstruction"],
    "answers": ["dataset=tiny"],
    "prompt": ["dataset=tiny"],
    "reproduce": ["paper=ldmae", "table=efficiency", "dataset=null"],
    "plan": ["paper=ldmae", "table=efficiency", "dataset=null"],
    "report": [],
}
TRAINING = ("train", "eval", "answers", "prompt")
REPORTING = ("reproduce", "plan", "report")

Command = tuple[str, ...]
LONG = "x" * 300
NUMBERS = ["nan", "inf", "-inf", "1e400", str(2**70), "-1", "0", "0.5", "9" * 5000, "true"]
WORDS = ["", LONG, "[1]", "{a: 1}", "null", "???", "abc"]
REFERENCES = ["${nowhere}", "${eval:1}", "${oc.env:NOT_SET_ANYWHERE}", "${", "${.}", "${...}"]


class Reached(BaseException):
    """The command was accepted: its first job would run now."""


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr("vaebench.runs.executors.run", stop)
    monkeypatch.chdir(tmp_path)


def outcome(command: Command, capsys: pytest.CaptureFixture[str]) -> tuple[int | None, list[str]]:
    """The exit code (None: a job would run) and the lines of complaint. A traceback is the test's own failure."""
    try:
        code: int | None = cli.main(list(command))
    except Reached:
        code = None
    except Exception as error:
        error.add_note(f"vaebench {' '.join(command)[:400]}")
        raise
    said = capsys.readouterr().err
    return code, [line for line in said.splitlines() if not line.startswith(("warning: ", "note: "))]


def complaint(command: Command, capsys: pytest.CaptureFixture[str]) -> str:
    """What is wrong with how the command was refused; empty if it was refused well."""
    code, lines = outcome(command, capsys)
    if code != 2:
        return f"accepted ({code})"
    # A number of the scale is a number of the training too, and each is a mistake.
    few = 1 <= len(lines) <= 2
    plain = all(line.startswith("error: ") and line.isprintable() and len(line) <= 4000 for line in lines)
    return "" if few and plain else f"{len(lines)} lines: {lines[:3]}"


def typed(spec: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    for one, hint in fields_of(spec):
        if is_dataclass(hint):
            yield from typed(hint, f"{where}{one.name}.")
        else:
            yield where + one.name, hint


def wrong(hint: Any, *, legal_zero: bool) -> list[str]:
    """Values that are wrong for a typed field, whatever it is called."""
    kinds = get_args(hint) or (hint,)
    nullable = type(None) in kinds
    found = [word for word in (*WORDS, *REFERENCES) if not (word == "null" and nullable)]
    if bool in kinds:
        return [*found, "nan"]
    if int in kinds:
        return [*found, *(n for n in NUMBERS if not (n == "0" and legal_zero))]
    return [*found, *(n for n in NUMBERS if n not in ("0", "0.5", str(2**70)))]


# The fields in which 0 is a value.
ZERO = {"seed", "runtime.checkpoint_seconds"}


def typed_fields() -> Iterator[Command]:
    """Every typed number and flag of each configuration with values that are none of its own."""
    for verb, spec in (("train", TrainConfig), ("plan", ReproduceConfig)):
        for name, hint in typed(spec):
            if str not in (get_args(hint) or (hint,)) and list not in (getattr(hint, "__origin__", None),):
                for value in wrong(hint, legal_zero=name in ZERO):
                    yield verb, *BASE[verb], f"{name}={value}"


def texts() -> Iterator[Command]:
    """Typed texts that name a choice, a run, a folder: what is not there, whatever it looks like."""
    odd = [*REFERENCES, "", LONG, "{a", "[", "@x", "*x", "a'b", "${", "a\nb", "\x1b[31mred", "1e5", "nan", "ü=#"]
    chosen = ["paper", "table", "row", "scale", "dataset", "features", "executor.kind", "runtime.device"]
    for name, value in itertools.product(chosen, odd):
        yield "plan", *BASE["plan"], f"{name}={value}"
    chosen = ["train.schedule", "train.precision", "train.keep", "runtime.device", "parent.run"]
    for name, value in itertools.product(chosen, [one for one in odd if one]):
        yield "train", *BASE["train"], f"{name}={value}"
    folders = [*REFERENCES, "", "s3://bucket/runs", "https://a.b/c", "file:///tmp"]
    for verb, value in itertools.product(BASE, folders):
        yield verb, *BASE[verb], f"store={value}"
    for verb, value in itertools.product(REPORTING, folders):
        yield verb, *BASE[verb], f"results={value}"


def nodes(value: Any, where: str = "") -> Iterator[str]:
    """The dotted names of everything in a configuration."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield f"{where}{key}"
        yield from nodes(one, f"{where}{key}.")


def deletions() -> Iterator[Command]:
    """Every node taken out, every group, and what is not there."""
    with compose.session():
        cfg = compose.compose("train", ["dataset=digits"])
    for name in [*nodes(asdict(cfg)), "model@model", "nothing", "dataset.shape.0", "", "experiment"]:
        if not name.startswith(("optim.", "dataset.about.")):  # PyTorch has defaults; a description decides nothing
            yield "train", *BASE["train"], f"~{name}"
    for name in ("paper", "runtime", "runtime.threads", "nothing"):
        yield "plan", *BASE["plan"], f"~{name}"


def groups() -> Iterator[Command]:
    """Every group with nothing, with several, with what is not there, put where it does not belong."""
    for verb, group in itertools.product(TRAINING, ["model", "dataset", "optim", "scale", "embedder", "suite"]):
        for value in ["null", "", "[ae,vae]", "{a: 1}", "5", "../model/ae", LONG, "${seed}", "a,b", "nan"]:
            base = [word for word in BASE[verb] if not word.startswith(f"{group}=")]
            yield verb, *base, f"{group}={value}"
    for word in (
        *("model@foo=ae", "model@=ae", "+dataset@foo=digits", "+model@model.network=ae"),
        *("paper=vpvae", "model@a@b=ae"),
    ):
        yield "train", *BASE["train"], word
    for word in ("test_on=null", "answers=tiny", "network=vit", "hydra.run.dir=x", "hydra/launcher=x", "experiment=x"):
        yield "train", *BASE["train"], word


def grammar() -> Iterator[Command]:
    """Characters of the grammars of Hydra, OmegaConf, YAML and the shell in keys and values."""
    marks = [
        *("[", "]", "{", "}", "(", ")", "'", '"', ",", ":", "=", "@", "~", "+", "*", "&", "!", "|", ">", "%"),
        *("`", "\\"),
    ]
    marks += ["${", "$", "#", "\n", "\t", "\x00", "\x1b[0m", "ü", "\udcff", "\u202e", "...", "--", " "]
    for mark in marks:
        yield "train", *BASE["train"], f"model.k={mark}"
        yield "train", *BASE["train"], f"se{mark}ed=1"
        yield "train", *BASE["train"], mark
        yield "plan", *BASE["plan"], f"seeds={mark}"
        yield "plan", *BASE["plan"], f"{mark}seeds=1x"
    yield "train", *BASE["train"], "model.hidden=" + "[" * 2000 + "]" * 2000
    yield "train", *BASE["train"], f"model.k={'9' * 100_000}"
    yield "train", *BASE["train"], f"model.k={'x' * 200_000}"
    yield "train", *BASE["train"], f"{'y' * 200_000}=1"
    yield "plan", *BASE["plan"], f"seeds={'[' * 30_000}"
    yield "plan", *BASE["plan"], "x" * 200_000


def unknown_names() -> Iterator[Command]:
    """Names that do not exist, at every depth, added, forced, and into what holds no options."""
    for verb, sign in itertools.product(TRAINING[:2], ["", "+", "++"]):
        names = ["neu", "neu.neu", "model.neu", "train.neu", "optim.neu", "dataset.neu", "scale.neu", "chain.neu"]
        names += ["runtime.neu", "parent.neu", "embedder.neu", "chain.encoder.neu", "model.k.neu", "seed.neu"]
        for name in [*names, "model.hidden.0", "dataset.shape.0", "model..k", ".model", "model.", "MODEL.K"]:
            yield verb, *BASE[verb], f"{sign}{name}=3"
    for verb, sign in itertools.product(REPORTING, ["", "+", "++"]):
        for name in ("neu", "runtime.neu", "model", "seed", "paper.neu", "executor.kind.x"):
            yield verb, *BASE[verb], f"{sign}{name}=3"
    for verb in (*BASE, "list", "data"):
        for word in ("model", "--foo", "-x", "--cfg", "- m", "vaebench"):
            yield verb, *BASE.get(verb, []), word
    yield from (("trian",), ("",), ("-q",), ("train train",), ("data", "fetch"), ("data", "status", "x" * 300))


def sweeps() -> Iterator[Command]:
    """Sweeps over nothing, over too much, over what cannot be listed, and sweeps without -m."""
    lists = [
        *("range(0,0)", "range(0,1000000000)", "range(1,2,0)", "range(0,1,1e-9)", "glob(*)"),
        *("glob(zzz)", "interval(0,1)"),
    ]
    lists += [
        *("choice()", "choice(a,b)", "shuffle(range(0,100000000))", "sort()", "1,", ",1", ",", "1,,2"),
        *("range(a,b)", "tag(a,1)"),
    ]
    lists += ["nan,1", "1,null", "1,-1", "1,${nowhere}", "1,[2]", "range(", "range()", "choice(1", "1,2,x"]
    for text in lists:
        yield "train", "-m", *BASE["train"], f"seed={text}"
        yield "train", "-m", *BASE["train"], f"model.k={text}" if text != "tag(a,1)" else "model.k=tag()"
    for verb in REPORTING:
        yield verb, "-m", *BASE[verb], "seeds=1"
    for verb in TRAINING:
        yield verb, *BASE[verb], "seed=1,2"
    yield "train", "-m", *BASE["train"], "model.k=range(1,60)", "seed=range(0,1000)"
    yield "train", "-m", *BASE["train"], "model=glob(zzz*)"


# Values that no number of any leaf takes.
NEVER = ["nan", "inf", "-inf", "1e400", str(2**70), "abc", "[a]", "{a: 1}", "???", "${nowhere}", "${eval:1}", LONG]
LEAVES = {
    "model": [("batchtopk", []), ("vmae", ["model.network.patch=7"]), ("vq_vae", []), ("fsp", []), ("classifier", [])],
    "optim": [("adam", []), ("adamw", [])],
    "suite": [("reconstruction", []), ("noise", []), ("generation", ["suite.features=classifier", "model=beta_vae"])],
}


def leaf_numbers() -> Iterator[Command]:
    """Every number of some models, optimisers and suites with what is no number."""
    for group, chosen in LEAVES.items():
        for (name, needed), value in itertools.product(chosen, NEVER):
            for key, usual in leaf(group, name).items():
                huge_rate = group == "optim" and value == str(2**70)  # a number like another; its loss says more
                if type(usual) in (int, float) and key != "version" and not huge_rate:
                    verb = "eval" if group == "suite" else "train"
                    base = [word for word in BASE[verb] if not word.startswith("suite=")]
                    yield verb, *base, f"{group}={name}", *needed, f"{group}.{key}={value}"
    for name, value in itertools.product(["lr", "eps", "weight_decay"], ["-1", "-1e-9", "null", "true"]):
        yield "train", *BASE["train"], "optim=adamw", f"+optim.{name}={value}"
    for value in ("[0.9,1.5]", "[0.9]", "0.9", "[0.9,nan]", "[a,b]", "[-1,0]", "null"):
        yield "train", *BASE["train"], "optim=adamw", f"optim.betas={value}"
    for name, value in itertools.product(["fused", "amsgrad"], ["5", "abc", "[1]"]):
        yield "train", *BASE["train"], f"++optim.{name}={value}"
    for value in (
        *("[28,28]", "[1,28]", "[]", "5", "null", "[0,28,28]", "[1,-28,28]", "[1,9999999999,9999999999]"),
        *("abc", "[a,b,c]"),
    ):
        yield "train", *BASE["train"], f"dataset.shape={value}"


def sizes() -> Iterator[Command]:
    """What no machine holds is refused before it is taken."""
    for value in ("10000000000", str(2**40), str(2**62)):
        yield "train", *BASE["train"], f"model.latent_dim={value}"
        yield "train", *BASE["train"], f"model.hidden=[{value}]"
        yield "train", *BASE["train"], "model=vq_vae", f"model.codebook_size={value}", "model.dim=4"
        yield "train", *BASE["train"], "model=vmae", "model.network.patch=7", f"model.network.width={value}"
        yield "train", *BASE["train"], f"runtime.threads={value}"
    yield "train", *BASE["train"], "model=vmae", "model.network.patch=7", "model.network.depth=1000000000"


def inner() -> Iterator[Command]:
    """Overrides inside an option, of the run that another builds on."""
    words = ["5", "a b c", "model=x", "model=null", "+foo=1", "dataset.shape=[1", "train.epochs=-1", "seed=1", "neu=1"]
    words += ["~model", "model.k=1,2", "store=${nowhere}", "train.batch_size=nan", "=", "[", "optim.lr=nan"]
    for word in words:
        chosen = ["model=ldm", "parent.experiment=ldmae/vmae", f"parent.overrides=['{word}']"]
        yield "train", *BASE["train"], *chosen
    for value in ("5", "[[1]]", "{a: 1}", "a=1", "[a=1]", "null", "${nowhere}"):
        yield "train", *BASE["train"], "model=ldm", "parent.experiment=ldmae/vmae", f"parent.overrides={value}"


KINDS = {
    function.__name__: function
    for function in (typed_fields, texts, deletions, groups, grammar, unknown_names, sweeps, leaf_numbers, sizes, inner)
}


def check(commands: list[Command], capsys: pytest.CaptureFixture[str]) -> None:
    found = {" ".join(command)[:300]: complaint(command, capsys) for command in commands}
    assert not {command: said for command, said in found.items() if said}


@pytest.mark.parametrize("kind", KINDS)
def test_some_malformed_commands_of_every_kind_are_one_line(kind, capsys):
    commands = list(KINDS[kind]())
    check(random.Random(0).sample(commands, min(FAST, len(commands))), capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_malformed_command_is_one_line(kind, capsys):
    check(list(KINDS[kind]()), capsys)


def test_there_are_hundreds_of_them():
    kinds = [set(kind()) for kind in KINDS.values()]
    assert len(set.union(*kinds)) > 1000
    assert min(map(len, kinds)) > 15
