"""Commands as a person gives them: what they print, what they refuse and how."""

from __future__ import annotations

import errno
import json

import pytest

from chains import stamps
from vaebench.runs import store
from vaebench.runs.store import Run

FAST = ["dataset=digits", "train.max_steps=3", "train.batch_size=32"]


BAD = [
    ("trian", "unknown command 'trian'; did you mean 'train'?"),
    ("train model=batchtpk", "unknown model 'batchtpk'; did you mean 'batchtopk'? Valid: ae, "),
    ("train dataset=mnits", "did you mean 'mnist'?"),
    ("eval suite=nois", "did you mean 'noise'?"),
    ("train scale=big", "unknown scale 'big'"),
    ("train model.kk=3", "unknown option 'model.kk'; did you mean 'model.k'?"),
    ("train trian.epochs=3", "unknown option 'trian'"),
    ("train train.epochs=many", "train.epochs=many: Value 'many' of type 'str' could not be converted to Integer"),
    ("train model.k=abc", "model.k='abc': expected a whole number"),
    ("train model.beta=[1]", "model.beta=[1]: expected a finite number, at least 0"),
    ("train optim.lrr=1", "unknown option 'optim.lrr'; did you mean 'optim.lr'?"),
    ("train model.k=65", "latent_dim"),
    ("train model.k=0", "k"),
    ("train model.beta=-1", "beta"),
    ("train model.importance=size", "abs_mu"),
    ("train train.schedule=sawtooth", "unknown train.schedule 'sawtooth'"),
    ("train train.precision=float16", "unknown train.precision 'float16'"),
    ("train train.epochs=null", "train.epochs=null: the training has no end; give train.max_steps"),
    ("train train.batch_size=0", "train.batch_size=0: expected a whole number, at least 1"),
    ("train train.batch_size=5000", "has only 1437 training items"),
    ("train runtime.threads=0", "runtime.threads=0: expected a whole number, 1 to 1024"),
    ("train runtime.device=cuda:9", "runtime.device=cuda:9"),
    ("train runtime.device=gpu", "unknown runtime.device 'gpu'"),
    ("train model.k=4,8", "lists several values; add -m to sweep"),
    ("train batchtopk", "options are written key=value"),
    ("train --verbose", "'--verbose': options are written"),
    ("eval suite=noise suite.sigmas=[-0.1]", "suite.sigmas=[-0.1]: expected a list of finite numbers"),
    ("eval suite=noise suite.sigmas=[]", "at least one standard deviation"),
    ("eval suite=masks model=ae", "suite masks cannot run on Autoencoder: it needs a model that MasksLatents"),
    ("eval suite=generation model=ae suite.features=classifier", "it needs a model that Samples"),
    ("eval suite=generation suite.features=resnet", "unknown suite.features 'resnet'; did you mean 'cifar10_resnet'?"),
    ("reproduce paper=batchtop", "unknown paper 'batchtop'; did you mean 'batchtopk'?"),
    ("reproduce table=table9", "unknown table 'table9'"),
    ("reproduce scale=large", "unknown scale 'large'"),
    ("reproduce seeds=0 dataset=digits", "seeds.count=0: expected a whole number, at least 1"),
    ("plan dataset=digits executor.workers=0", "executor.workers=0: expected a whole number, 1 to 1024"),
    ("reproduce dataset=svhn", "unknown dataset 'svhn'"),
    ("list model", "unknown section 'model'; did you mean 'models'?"),
    ("data statsu", "did you mean 'status'?"),
    ("data verify mnits", "did you mean 'mnist'?"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_is_one_line_and_makes_nothing(words, message, run, home):
    digits = ["dataset=digits"] if words.startswith(("train", "eval")) and " dataset=" not in words else []
    assert message in run.refused(*words.split(), *digits)
    assert not home.exists() or "batch_size=5000" in words


def test_every_mistake_of_a_command_is_shown_at_once(run):
    error = run.refused("train", "model=vaee", "dataset=mnits", "train.epochs=x", "seeed=1", lines=4)
    for word in ("'vaee'", "'mnits'", "train.epochs=x", "'seeed'"):
        assert word in error


def test_every_mistake_of_a_reproduction_is_shown_at_once(run):
    run.refused("reproduce", "scale=big", "dataset=svhn", "seeds=0", lines=3)


def test_train_then_again_then_eval(run, home):
    run.done("train", *FAST)
    folder = next(path.parent for path in home.glob("*/model.safetensors"))
    written = stamps(folder)
    out = run.done("train", *FAST)
    assert "already done" in out
    assert written == stamps(folder)
    out = run.done("eval", "suite=reconstruction", *FAST)
    assert "training it first" not in out
    assert "ssim_valid" in out
    assert "stand-in" in out


def test_eval_trains_what_is_missing_and_says_so(run, home):
    out = run.done("eval", "suite=masks", *FAST)
    assert "is not there yet: making it" in out
    assert "jaccard@128" in out


def test_default_dataset_says_which(run, monkeypatch):
    """Without dataset= it is MNIST, or, where there is none, the embedded digits; and that is said."""
    for there, name in ((True, "mnist"), (False, "digits")):
        monkeypatch.setattr("vaebench.data.fetch.at_hand", lambda dataset, there=there: there)
        code, out, error = run("train", "--cfg", "job")
        assert code == 0
        assert f"name: {name}" in out
        assert ("note: dataset=digits, the embedded stand-in" in error) != there


def test_quiet_train_prints_nothing(run):
    assert run("train", "-q", *FAST)[:2] == (0, "")


def test_configuration_is_shown_and_nothing_run(run, home):
    out = run.done("train", *FAST, "model.k=5", "--cfg", "job")
    assert "k: 5" in out
    assert not home.exists()


def test_help_and_version(run):
    assert "vaebench eval suite=noise" in run("--help")[1]
    assert run("train", "--help").code == 0
    assert run("--version")[1].startswith("vaebench 0.")


def test_list_names_what_there_is(run):
    run("train", "-q", *FAST)
    out = run.done("list")
    for word in ("batchtopk", "digits", "noise", "table1", "small", "done"):
        assert word in out


def test_cuda_without_cuda_is_refused(run, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    error = run.failed("train", *FAST, "runtime.device=cuda")
    assert "this machine has no such device" in error
    assert "runtime.device=cpu" in error


@pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")])
def test_full_disk_or_read_only_store_keeps_what_is_there(number, word, run, monkeypatch, home):
    run("train", "-q", *FAST)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    def fail(handle: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(store.os, "fsync", fail)
    error = run.failed("train", "-q", *FAST, "seed=1")
    assert word in error or "cannot be written" in error
    assert {path: path.read_bytes() for path in before} == before


def test_failed_run_is_a_status_and_is_tried_again(run, home):
    exploding = [*FAST, "optim.lr=1e30", "model.recon_loss=mse"]
    error = run.failed("train", *exploding)
    assert "the loss is not finite at step" in error
    assert "phase 'autoencoder'" in error
    status = json.loads(next(home.glob("*/status.json")).read_text())
    assert status["status"] == "failed"
    assert run("train", *exploding).code == 2
    assert run("eval", "suite=reconstruction", *exploding).code == 2


def test_run_of_other_data_is_not_evaluated(run, home):
    """The same request can meet a part of a dataset first and the whole of it later."""
    run("train", "-q", *FAST)
    path = next(home.glob("*/result.json"))
    path.write_text(path.read_text().replace('"dataset_digest": "', '"dataset_digest": "0'))
    error = run.failed("eval", "suite=reconstruction", *FAST)
    assert f"{path}: is damaged, its checksum is not the one it was finished with; remove {path} and " in error
    Run(path.parent).finish(spent=0.0)  # as if it had been trained on them
    assert "was trained on other contents of digits" in run.failed("eval", "suite=reconstruction", *FAST)


def test_changed_request_in_the_store_is_refused(run, home):
    run("train", "-q", *FAST)
    folder = next(path.parent for path in home.glob("*/model.safetensors"))
    path = folder / "request.yaml"
    path.write_text(path.read_text().replace("vaebench.models.batchtopk.BatchTopK", "os.system"))
    assert "was changed after it was written" in run.failed("eval", "suite=reconstruction", *FAST)
    assert Run(folder).done
