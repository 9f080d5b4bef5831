"""Legal commands that look odd: paths of all sorts, whole numbers, nothing chosen; sweeps and terminals that fail."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rich.table import Table

from vaebench.cli import help as helps
from vaebench.cli.main import HELP
from vaebench.cli.terminal import Terminal
from vaebench.config import compose
from vaebench.config.overrides import parse, spelled
from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig, TrainConfig
from vaebench.contracts import Job, Outcome, Phase
from vaebench.errors import UserError
from vaebench.reproduce import durations
from vaebench.runs import build
from vaebench.runs.executors import progress
from vaebench.runs.executors.outlook import Outlook
from vaebench.runs.kinds import train as trainings
from vaebench.runs.store import Store

FAST = ["dataset=digits", "scale=smoke", "train.max_steps=1", "train.batch_size=32"]
SMALLEST = ["paper=ldmae", "table=efficiency", "row=vmae"]
# Blanks, brackets, umlauts, grammar characters of Hydra, OmegaConf, YAML, rich and the shell.
NAMES = [
    *("my runs", "[bold]x[/b]", "a{b}", "ü ß 日本", "a=b", "a#b", "it's", 'say "so"', "a,b", "$HOME", "a$b{c"),
    *("back\\slash", "end\\", "(x)", "1e5", "range(1,3)", "x: y", "~x", "*", "@a", "null.x", " ["),
]


def configured(name: str, *words: str) -> Any:
    with compose.session():
        return compose.configurations(name, words, sweep=False)[0]


def given(spec: type, word: str) -> Any:
    """The value that a word of the command line gives its option."""
    (option,) = spelled(word, spec, sweep=False)
    return OmegaConf.create({"value": parse(option).value()}).value


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_a_path_in_every_verb(name):
    for path in (name, f"/tmp/{name}", f"{name}/{name}"):
        for spec in (TrainConfig, ReproduceConfig):
            assert given(spec, f"store={path}") == path
        assert given(ReproduceConfig, f"results={path}") == path
        for option in ("dataset.answers.path", "suite.reference_file", "reference.path", "embedder.model"):
            assert given(TrainConfig, f"{option}={path}") == path


def test_odd_paths_reach_the_configuration():
    odd = '/a b/[x] it\'s "y" ü=#$,{z}\\'
    assert configured("train", "dataset=digits", f"store={odd}").store == odd
    assert configured("reproduce", f"results={odd}", f"store={odd}").results == odd


def test_a_file_of_answers_is_a_path_or_several(run):
    assert given(TrainConfig, "dataset.answers.path=[a.jsonl,b c.jsonl]") == ["a.jsonl", "b c.jsonl"]
    assert given(TrainConfig, "dataset.answers.path=null") is None
    error = run.refused("answers", "dataset=recorded", "dataset.answers.path=[no] it's.jsonl")
    assert error == "error: dataset.answers.path=[no] it's.jsonl: there is no such file"


def test_a_quoted_path_and_a_path_with_a_variable_are_what_they_were(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/some where")
    for name, base in (("train", ["dataset=digits"]), ("reproduce", [])):
        assert configured(name, *base, 'store="my runs"').store == "my runs"
        assert configured(name, *base, "store=${oc.env:SOMEWHERE}/x").store == "/some where/x"


def test_runs_go_where_the_path_says(tmp_path, run):
    store = tmp_path / "my [runs] ü='x'"
    run.done("train", "-q", *FAST, f"store={store}")
    assert len(list(store.glob("*/model.safetensors"))) == 1


def test_a_number_is_whole_however_it_is_written():
    with compose.session():
        keys = {
            trainings.request(compose.configurations("train", ["dataset=digits", *words], sweep=False)[0], {}).key
            for words in (["seed=1000", "model.latent_dim=8"], ["seed=1e3", "model.latent_dim=8.0"])
        }
        swept = compose.configurations(
            "train", ["dataset=digits", "seed=1e1,2.0", "dataset.shape=[1.0,2.8e1,28]"], sweep=True
        )
    assert len(keys) == 1
    assert [cfg.seed for cfg in swept] == [10, 2]
    assert swept[0].model["input_shape"] == [1, 28, 28]
    assert configured("train", "dataset=digits", "optim.lr=1e-3").optim["lr"] == 1e-3
    noise = configured("eval", "dataset=digits", "suite=noise", "suite.sigmas=[1.0,2.0]")
    assert [type(sigma) for sigma in noise.suite["sigmas"]] == [
        float,
        float,
    ]  # a standard deviation stays as it is written


def test_the_largest_seed_shuffles():
    cfg = configured("train", "dataset=digits", f"seed={2**63 - 1}")
    assert cfg.seed == 2**63 - 1
    with compose.session(), pytest.raises(UserError, match="seed=9223372036854775808: expected a whole number, 0 to"):
        compose.configurations("train", ["dataset=digits", f"seed={2**63}"], sweep=False)


def test_nothing_of_a_group_that_may_be_nothing():
    assert configured("train", "dataset=digits", "reference=null").reference is None
    assert configured("train", "dataset=digits", "dataset@test_on=null").test_on is None
    assert configured("train", "dataset=digits", "experiment=null").model["k"] == 8


def test_names_are_added_where_they_are_data():
    """Scorers of a set of problems, and arguments of PyTorch's optimisers that the YAML does not show."""
    cfg = configured("train", "dataset=digits", "+optim.eps=1e-6", "~optim.fused", "++model.k=3")
    assert cfg.optim["eps"] == 1e-6
    assert "fused" not in cfg.optim
    assert cfg.model["k"] == 3
    assert configured("train", "dataset=tiny", "model=rcvae", "+dataset.problems.scorers.boxed=1")


def test_help_anywhere_helps(run):
    for words in ("train model=x --help", "plan a b -h", "list --help", "data fetch -h"):
        assert run.done(*words.split()) == helps.of(words.split()[0])
    for words in ("--help", "-h", "help", ""):
        assert run.done(*words.split()) == HELP


@pytest.mark.parametrize("inside", ["file", "file/x"])
def test_results_that_cannot_be_written_are_noticed_first(inside, tmp_path, run, monkeypatch):
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("computed first")

    monkeypatch.setattr("vaebench.runs.executors.run", never)
    (tmp_path / "file").touch()
    error = run.failed("reproduce", "-q", *SMALLEST, f"results={tmp_path / inside}")
    assert error.startswith(f"error: results={tmp_path / inside}: cannot be written (")
    assert len(error.splitlines()) == 1


def test_an_unknown_executor_is_no_plan(run):
    for verb in ("plan", "reproduce"):
        code, out, error = run(verb, *SMALLEST, "executor.kind=ssh")
        assert (code, out) == (2, "")
        assert error == "error: unknown executor 'ssh'. Valid: inline, local, ray, slurm\n"


def test_a_network_of_another_kind_takes_some_time(tmp_path):
    train = {"batch_size": 10, "epochs": 1, "max_steps": 100}
    model = {"_target_": "vaebench.models.mine.Mine", "network": "linear"}
    request = Request({"verb": "train", "model": model, "train": train, "dataset": {"name": "digits"}})
    assert durations.learnt(Store(tmp_path), [request])(request) > 0


def test_a_run_takes_as_long_as_those_of_its_length_did(tmp_path):
    def trained(steps: int, seed: int = 0) -> Request:
        options = ["model=ae", "dataset=digits", "train.epochs=null", f"train.max_steps={steps}", f"seed={seed}"]
        return trainings.request(configured("train", *options), {})

    store = Store(tmp_path)
    for seed in range(40):  # a short run is mostly its start
        store.open(trained(20, seed)).finish(spent=9.0)
    for seed in range(5):
        store.open(trained(20_000, seed)).finish(spent=[300.0, 310.0, 320.0, 5000.0, 290.0][seed])
    asked = [trained(20, 99), trained(20_000, 99), trained(40_000, 99)]
    seconds = durations.learnt(store, asked)
    assert seconds(asked[0]) == pytest.approx(9)
    assert seconds(asked[1]) == pytest.approx(290), "with nothing beside it"
    assert 560 < seconds(asked[2]) < 600


def test_what_is_measured_on_a_small_set_takes_less(tmp_path):
    def both(name: str) -> list[Request]:
        trained = trainings.request(configured("train", "model=ae", f"dataset={name}", "train.max_steps=20"), {})
        suite = {"_target_": "vaebench.suites.noise.Noise"}
        return [trained, Request({"verb": "eval", "suite": suite, "parents": {"run": trained.key}})]

    digits, others = both("digits"), both("photos")  # of which nothing is said
    store = Store(tmp_path)
    seconds = durations.learnt(store, digits + others)
    assert 0 < seconds(digits[1]) < seconds(others[1]) / 5
    run = store.open(digits[0])
    run.finish(spent=9.0)
    alone = durations.learnt(store, digits[1:])
    assert alone(digits[1]) == seconds(digits[1]), "of a run that is there already"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("model.latent_dim=10000000000", "model.latent_dim=10000000000"),
        ("model=vmae model.network.patch=7 model.network.depth=1000000000", "model.network.depth=1000000000"),
        ("dataset.shape=[1,99999999,99999999]", "numbers in one item; at most 67,108,864"),
    ],
)
def test_what_no_machine_holds_is_named(options, message, run):
    assert message in run.refused("train", *FAST, *options.split())


def test_long_arguments_are_shortened_and_line_breaks_spelled_out(run):
    error = run.refused("train", "dataset=digits", f"model={'x' * 5000}", f"model.k={'y' * 5000}\nz", lines=2)
    assert all(len(line) < 1000 for line in error.splitlines())
    assert "5,000 characters" in error
    assert "\\n" in run("train", "seed=1\n2").err


DATA = "org/model[/INST] [bold]b[/b] :smile: \x1b[31mred\x07 \u202egnp"
PLAIN = r"org/model[/INST] [bold]b[/b] :smile: \x1b[31mred\x07 \u202egnp"


def test_what_comes_from_data_is_text_on_the_terminal():
    for is_terminal in (True, False):
        screen = io.StringIO()
        console = Terminal(file=screen, width=200, force_terminal=is_terminal, color_system=None)
        table = Table("column", title=DATA)
        table.add_row(DATA)
        console.print(DATA)
        console.print(table)
        assert screen.getvalue().count(PLAIN) == 3


def test_progress_shows_labels_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen, job = io.StringIO(), Job("train", tmp_path)
    console = Terminal(file=screen, width=300, force_terminal=True, color_system=None)
    with progress.Display({tmp_path: DATA}, Outlook([job], 1), quiet=False, console=console) as display:
        display.track(job, 1, 10)
        display.live.refresh()
        display.finish(Outcome(job, "failed", DATA))
    assert f"failed train {PLAIN}: {PLAIN}" in screen.getvalue()
    assert f"  train {PLAIN} " in screen.getvalue()


def test_optimisers_take_numbers_in_range():
    spec = {"_target_": "torch.optim.AdamW", "lr": 0.1, "betas": [0.9, 0.95], "weight_decay": 0.0, "fused": True}
    model: Any = SimpleNamespace(phases=[Phase("all", (torch.nn.Parameter(torch.ones(2)),), lambda batch, step: {})])
    nan, inf = float("nan"), float("inf")
    wrong = {
        "lr": [nan, -1, "abc", 0, inf, None, True],
        "betas": [[0.9, 1.5], [0.9], 0.9, [nan, 0.9], ["a", "b"], None],
        "weight_decay": [-1, nan, inf, "abc", None],
        "eps": [-1, nan, None],
        "fused": ["abc", 5],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(UserError, match=f"^optim.{name}") as caught:
                build.optimizers(Request({"optim": {**spec, name: value}}), model)
            assert all("\n" not in line for line in caught.value.lines)
    with pytest.raises(UserError, match=r"^optim: "):
        build.optimizers(Request({"optim": {**spec, "foreach": True}}), model)
    assert set(build.optimizers(Request({"optim": {**spec, "betas": [0, 0.9], "lr": 1}}), model)) == {"all"}


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu:x", "after the colon comes the number of a device"),
        ("cpu:-1", "after the colon comes the number of a device"),
        ("auto:0", "after the colon comes the number of a device"),
        ("cpu:7", "this machine has no such device"),
        ("cuda:99", "this machine has no such device"),
    ],
)
def test_a_device_that_is_none(device, message):
    from vaebench.engine import runtime

    assert runtime.resolve_device("cpu:0") == torch.device("cpu:0")
    with pytest.raises(UserError, match=message):
        runtime.resolve_device(device)


def test_overrides_of_another_run_are_checked_where_they_stand(run):
    base = ["train", *FAST, "model=ldm", "parent.experiment=ldmae/vmae"]
    for word, message in (
        ("5", "parent.overrides: 5: "),
        ("+foo=1", "parent.overrides: unknown option 'foo'"),
        ("train.epochs=-1", "parent.overrides: train.epochs=-1: expected a whole number, at least 1"),
        ("model=x", "parent.overrides: unknown model 'x'. Valid: ae"),
    ):
        error = run.failed(*base, f"parent.overrides=['{word}']")
        assert error.startswith(f"error: {message}")
