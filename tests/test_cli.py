"""Commands as a person gives them: what they print, what they refuse and how."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from vaebench.cli import main as cli
from vaebench.runs import store
from vaebench.runs.store import Run

FAST = ["dataset=digits", "train.max_steps=3", "train.batch_size=32"]


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


BAD = [
    (["trian"], "unknown command 'trian'; did you mean 'train'?"),
    (["train", "model=batchtpk"], "unknown model 'batchtpk'; did you mean 'batchtopk'? Valid: ae, "),
    (["train", "dataset=mnits"], "did you mean 'mnist'?"),
    (["eval", "suite=nois"], "did you mean 'noise'?"),
    (["train", "scale=big"], "unknown scale 'big'"),
    (["train", "model.kk=3"], "unknown option 'model.kk'; did you mean 'model.k'?"),
    (["train", "trian.epochs=3"], "unknown option 'trian'"),
    (["train", "train.epochs=many"], "train.epochs=many: Value 'many' of type 'str' could not be converted to Integer"),
    (["train", "model.k=abc"], "model.k='abc': expected a whole number"),
    (["train", "model.beta=[1]"], "model.beta=[1]: expected a number"),
    (["train", "optim.lrr=1"], "unknown option 'optim.lrr'; did you mean 'optim.lr'?"),
    (["train", "model.k=65"], "latent_dim"),
    (["train", "model.k=0"], "k"),
    (["train", "model.beta=-1"], "beta"),
    (["train", "model.importance=size"], "abs_mu"),
    (["train", "train.schedule=sawtooth"], "unknown train.schedule 'sawtooth'"),
    (["train", "train.precision=float16"], "unknown train.precision 'float16'"),
    (["train", "train.epochs=null"], "train.epochs=null: the training has no end; give train.max_steps"),
    (["train", "train.batch_size=0"], "train.batch_size=0: expected a whole number, at least 1"),
    (["train", "train.batch_size=5000"], "has only 1437 training items"),
    (["train", "runtime.threads=0"], "runtime.threads=0: expected a whole number, 1 to 1024"),
    (["train", "runtime.device=cuda:9"], "runtime.device=cuda:9"),
    (["train", "runtime.device=gpu"], "unknown runtime.device 'gpu'"),
    (["train", "model.k=4,8"], "lists several values; add -m to sweep"),
    (["train", "batchtopk"], "options are written key=value"),
    (["train", "--verbose"], "'--verbose': options are written"),
    (["eval", "suite=noise", "suite.sigmas=[-0.1]"], "suite.sigmas=[-0.1]: expected a list of finite numbers"),
    (["eval", "suite=noise", "suite.sigmas=[]"], "at least one standard deviation"),
    (["eval", "suite=masks", "model=ae"], "suite masks cannot run on Autoencoder: it needs a model that MasksLatents"),
    (["eval", "suite=generation", "model=ae", "suite.features=classifier"], "it needs a model that Samples"),
    (
        ["eval", "suite=generation", "suite.features=resnet"],
        "unknown suite.features 'resnet'; did you mean 'cifar10_resnet'?",
    ),
    (["reproduce", "paper=batchtop"], "unknown paper 'batchtop'; did you mean 'batchtopk'?"),
    (["reproduce", "table=table9"], "unknown table 'table9'"),
    (["reproduce", "scale=large"], "unknown scale 'large'"),
    (["reproduce", "seeds=0", "dataset=digits"], "seeds=0: expected a whole number, at least 1"),
    (
        ["plan", "dataset=digits", "executor.workers=0"],
        "executor.workers=0: expected a whole number, 1 to 1024",
    ),
    (["reproduce", "dataset=svhn"], "unknown dataset 'svhn'"),
    (["list", "model"], "unknown section 'model'; did you mean 'models'?"),
    (["data", "statsu"], "did you mean 'status'?"),
    (["data", "verify", "mnits"], "did you mean 'mnist'?"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_makes_nothing(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    if words[0] in ("train", "eval") and not any(word.startswith("dataset=") for word in words):
        words = [*words, "dataset=digits"]
    code, _, error = run(*words, capsys=capsys)
    assert code == 2
    assert message in error
    lines = [line for line in error.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    if "batch_size=5000" not in " ".join(words):
        assert not home.exists()


def test_every_mistake_of_a_command_is_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run("train", "model=vaee", "dataset=mnits", "train.epochs=x", "seeed=1", capsys=capsys)
    assert code == 2
    assert len(error.splitlines()) == 4
    for word in ("'vaee'", "'mnits'", "train.epochs=x", "'seeed'"):
        assert word in error


def test_every_mistake_of_a_reproduction_is_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run("reproduce", "scale=big", "dataset=svhn", "seeds=0", capsys=capsys)
    assert code == 2
    assert len(error.splitlines()) == 3


def test_train_then_again_then_eval(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = run("train", *FAST, capsys=capsys)
    assert code == 0
    folder = next(path.parent for path in home.glob("*/model.safetensors"))
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    code, out, _ = run("train", *FAST, capsys=capsys)
    assert code == 0
    assert "already done" in out
    assert written == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    code, out, _ = run("eval", "suite=reconstruction", *FAST, capsys=capsys)
    assert code == 0
    assert "training it first" not in out
    assert "ssim_valid" in out
    assert "stand-in" in out


def test_eval_trains_what_is_missing_and_says_so(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = run("eval", "suite=masks", *FAST, capsys=capsys)
    assert code == 0
    assert "is not there yet: making it" in out
    assert "jaccard@128" in out


def test_default_dataset_says_which(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dataset= it is MNIST, or, where there is none, the embedded digits; and that is said."""
    for there, name in ((True, "mnist"), (False, "digits")):
        monkeypatch.setattr("vaebench.data.fetch.at_hand", lambda dataset, there=there: there)
        code, out, error = run("train", "--cfg", "job", capsys=capsys)
        assert code == 0
        assert f"name: {name}" in out
        assert ("note: dataset=digits, the embedded stand-in" in error) != there


def test_quiet_train_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "-q", *FAST, capsys=capsys)[:2] == (0, "")


def test_configuration_is_shown_and_nothing_run(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = run("train", *FAST, "model.k=5", "--cfg", "job", capsys=capsys)
    assert code == 0
    assert "k: 5" in out
    assert not home.exists()


def test_sweep_runs_each(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, *_ = run("train", "-m", "-q", *FAST, "model.k=4,8", "seed=0,1", capsys=capsys)
    assert code == 0
    assert len(list(home.glob("*/model.safetensors"))) == 4


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert "vaebench eval suite=noise" in run("--help", capsys=capsys)[1]
    assert run("train", "--help", capsys=capsys)[0] == 0
    assert run("--version", capsys=capsys)[1].startswith("vaebench 0.")


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    run("train", "-q", *FAST, capsys=capsys)
    code, out, _ = run("list", capsys=capsys)
    assert code == 0
    for word in ("batchtopk", "digits", "noise", "table1", "small", "done"):
        assert word in out


def test_cuda_without_cuda_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, error = run("train", *FAST, "runtime.device=cuda", capsys=capsys)
    assert code == 2
    assert "this machine has no such device" in error
    assert "runtime.device=cpu" in error


@pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")])
def test_full_disk_or_read_only_store_keeps_what_is_there(
    number: int, word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    run("train", "-q", *FAST, capsys=capsys)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    def fail(handle: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(store.os, "fsync", fail)
    code, _, error = run("train", "-q", *FAST, "seed=1", capsys=capsys)
    assert code == 2
    assert word in error or "cannot be written" in error
    assert {path: path.read_bytes() for path in before} == before


def test_failed_run_is_a_status_and_is_tried_again(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    exploding = [*FAST, "optim.lr=1e30", "model.recon_loss=mse"]
    code, _, error = run("train", *exploding, capsys=capsys)
    assert code == 2
    assert "the loss is not finite at step" in error
    assert "phase 'autoencoder'" in error
    status = json.loads(next(home.glob("*/status.json")).read_text())
    assert status["status"] == "failed"
    assert run("train", *exploding, capsys=capsys)[0] == 2
    assert run("eval", "suite=reconstruction", *exploding, capsys=capsys)[0] == 2


def test_run_of_other_data_is_not_evaluated(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """The same request can meet a part of a dataset first and the whole of it later."""
    run("train", "-q", *FAST, capsys=capsys)
    path = next(home.glob("*/result.json"))
    path.write_text(path.read_text().replace('"dataset_digest": "', '"dataset_digest": "0'))
    code, _, error = run("eval", "suite=reconstruction", *FAST, capsys=capsys)
    assert code == 2
    assert f"{path}: is damaged, its checksum is not the one it was finished with; remove {path} and " in error
    Run(path.parent).finish(spent=0.0)  # as if it had been trained on them
    code, _, error = run("eval", "suite=reconstruction", *FAST, capsys=capsys)
    assert code == 2
    assert "was trained on other contents of digits" in error


def test_changed_request_in_the_store_is_refused(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    run("train", "-q", *FAST, capsys=capsys)
    folder = next(path.parent for path in home.glob("*/model.safetensors"))
    path = folder / "request.yaml"
    path.write_text(path.read_text().replace("vaebench.models.batchtopk.BatchTopK", "os.system"))
    code, _, error = run("eval", "suite=reconstruction", *FAST, capsys=capsys)
    assert code == 2
    assert "was changed after it was written" in error
    assert Run(folder).done
