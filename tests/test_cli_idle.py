"""Options that would do nothing are refused, a line each, before anything is made; those that do something are not."""

from __future__ import annotations

from functools import partial

import pytest

from vaebench.cli import commands, idle
from vaebench.config import compose
from vaebench.errors import UserError

SAME = "does nothing for this `vaebench {}`, the runs are the same without; leave it out"
EVAL = "is for `vaebench eval`; leave it out"
CODE = "is what the code says of itself, no option; leave it out"
TEXTS = "a model of texts builds on no other run; leave this out"
ALL = "does nothing for this `vaebench report`, all that is stored is written; leave it out"
PAPER = "it is for `vaebench plan scale=paper`; leave it out"

IDLE = [
    ("train model=vae", "reference=gmm", SAME),
    ("train model=vae", "embedder=minilm", SAME),
    ("train model=vae", "embedder.dim=3", SAME),
    ("train model=vae", "latents.flip=true", SAME),
    ("train model=vae", "scale.seeds=9", SAME),
    ("train experiment=classifier", "scale=smoke", SAME),
    ("train experiment=dmvae/ssl", "reference=gmm", SAME),
    ("train experiment=dmvae/tokenizer", 'chain.joint.overrides=["train.max_steps=3"]', "joint is not needed here"),
    ("train dataset=tiny", "dataset.answers.k=3", SAME),
    ("train -m model.k=2,4", "reference=gmm", SAME),
    ("train model=vae", "snapshot=2", EVAL),
    ("train model=vae", "dataset@test_on=fashion_mnist", EVAL),
    ("train model=vae", "suite=noise", EVAL),
    ("train model=vae", "suite.seed=3", EVAL),
    ("eval suite=cost model=fsq", "seed=3", SAME),
    ("eval -m suite=cost model=fsq", "seed=0,1", SAME),
    ("eval suite=cost model=fsq", "train.max_steps=3", SAME),
    ("eval dataset=tiny", "snapshot=3", SAME),
    ("eval dataset=tiny", "dataset@test_on=gsm8k", SAME),
    ("eval dataset=tiny suite.needs_model=false", "embedder=minilm", SAME),
    ("answers dataset=tiny", "seed=3", SAME),
    ("answers dataset=tiny", "model.beta=3", SAME),
    ("answers dataset=tiny", "parent.experiment=classifier", TEXTS),
    ("prompt dataset=tiny", "embedder=minilm", SAME),
    ("prompt dataset=tiny", "parent.link=tokenizer", TEXTS),
    ("train model=vae", "model.version=7", CODE),
    ("train model=vae", "dataset.version=7", CODE),
    ("train model=vae", "+optim.version=7", CODE),
    ("train experiment=dmvae/joint", 'chain.encoder.overrides=["model.version=2"]', CODE),
    ("eval suite=noise", "suite.version=7", CODE),
    ("report paper=vpvae", "table=table1", ALL),
    ("report", "row=x", ALL),
    ("report", "scale=smoke", ALL),
    ("report", "executor.workers=2", ALL),
    ("report", "tracker=tensorboard", ALL),
    ("answers dataset=tiny", "tracker=tensorboard", SAME),
    ("plan paper=batchtopk", "tracker=tensorboard", "nothing is run; leave it out"),
    ("plan paper=batchtopk", "measure=false", PAPER),
    ("reproduce paper=batchtopk", "measure=false", PAPER),
    ("plan paper=batchtopk", "results=here", "nothing is written; leave it out"),
    ("plan executor=inline", "executor.workers=2", "executor has no options as it is chosen; leave it out"),
    ("plan paper=rcvae scale=smoke", "features=inception", "these tables judge no samples; leave it out"),
    ("plan paper=ldmae table=efficiency", "dataset=digits", "these tables read no data; leave it out"),
    ("plan paper=ldmae table=efficiency", "seeds=2", "these tables train nothing; leave it out"),
    ("train experiment=dmvae/joint reference=file", "reference.path=no.npy", "there is no such file"),
    ("train experiment=dmvae/joint reference=file", f"reference.path={__file__}", "expected one of .npy, .npz"),
    ("eval dataset=tiny", "suite.k=20", "dataset.answers.k=8 are there to each problem; choose no more"),
]


def with_digits(words: str) -> list[str]:
    verb, *rest = words.split()
    images = verb in ("train", "eval") and "dataset=" not in words
    return [verb, *rest, *(["dataset=digits"] if images else [])]


@pytest.mark.parametrize(("words", "option", "message"), IDLE, ids=[f"{words} {option}" for words, option, _ in IDLE])
def test_an_option_that_does_nothing_is_refused(words, option, message, run, home):
    said = run.refused(*with_digits(words), option)
    assert option.partition("=")[0] in said
    assert message.format(words.partition(" ")[0]) in said
    assert not home.exists()


def test_all_of_them_are_said_at_once(run):
    run.refused("train", "dataset=digits", "reference=gmm", "reference.samples=100", "embedder.dim=3", lines=3)


USED = [
    "train seed=0 model=batchtopk scale=small",  # what is usual anyway
    "train experiment=dmvae/joint reference=gmm reference.samples=300 seed=1",
    "train experiment=dmvae/joint reference=text embedder.dim=50",
    "train experiment=dmvae/joint parent.link=tokenizer",
    'train experiment=dmvae/tokenizer chain.encoder.overrides=["train.batch_size=256"]',
    "train experiment=ldmae/ldm parent.experiment=ldmae/ae latents.flip=true",
    "train model=vae runtime.threads=2 store=here quiet=true tracker=tensorboard tracker.sample_every=10",
    "train -m model=vae,ldm parent.experiment=ldmae/ae",
    "train -m seed=0,1 scale=smoke",
    "train dataset=tiny embedder.dim=20 scale=smoke",
    "eval suite=noise scale=smoke train.snapshots=4 snapshot=2",
    "eval model=fsq dataset@test_on=mnist_32 dataset=cifar10",
    "eval -m suite=cost,tokens model=fsq seed=0,1",
    "eval dataset=tiny suite.k=4 dataset.answers.k=5 embedder.dim=20 model.beta=0.2",
    "eval suite=cost model=fsq dataset=fashion_mnist",  # of the usual set's shape
    "answers dataset=tiny dataset.answers.k=5",
]


@pytest.mark.parametrize("words", USED)
def test_an_option_that_does_something_is_not(words):
    verb, *given = with_digits(words)
    sweep, name = "-m" in given, "eval" if verb == "eval" else "train"
    composed = partial(compose.configurations, name, sweep=sweep)
    with compose.session():
        words = [one for one in given if one != "-m"]
        idle.of_runs(words, composed(words), composed, partial(commands.asked_for, verb), verb)


def test_a_mistake_is_left_to_the_command():
    composed = partial(compose.configurations, "train", sweep=False)
    words = ["dataset=digits", "model=ldm", "embedder.dim=3"]
    with compose.session():
        with pytest.raises(UserError, match="is trained on an autoencoder's latents"):
            commands.asked_for("train", composed(words)[0])
        idle.of_runs(words, composed(words), composed, partial(commands.asked_for, "train"), "train")
