"""A request on disk is data: whatever it names, nothing runs, nothing is imported, nothing is looked up for it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from chains import MACHINE, VIT, failed, work
from commands import VAEBENCH, python
from vaebench import compat
from vaebench.chains import evaluation
from vaebench.chains.chain import training
from vaebench.cli import commands
from vaebench.config import choices as config
from vaebench.config import origins
from vaebench.config.choices import choices, leaf
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.engine.checkpoint import weights_bytes
from vaebench.errors import UserError
from vaebench.runs import build, kinds
from vaebench.runs.store import Run, Store

WHERE = {
    **{"model": "model", "dataset": "dataset", "test_on": "dataset", "dataset.problems": "problems"},
    **{"dataset.answers": "answers", "embedder": "embedder", "reference": "reference"},
    **{"suite": "suite", "optim": "optim"},
}
# What walked through an imported module, or stands one step away from what is right.
ELSEWHERE = """
os.system os.popen os.remove os.execv subprocess.run subprocess.Popen subprocess.check_output shutil.rmtree
builtins.eval builtins.exec builtins.open builtins.compile builtins.__import__ builtins.getattr builtins.breakpoint
importlib.import_module importlib.reload runpy.run_path runpy.run_module code.interact pty.spawn timeit.timeit
pickle.load pickle.loads marshal.loads shelve.open ctypes.CDLL webbrowser.open urllib.request.urlretrieve
socket.create_connection tempfile.mkstemp antigravity this pdb.run cProfile.run doctest.testfile
yaml.load yaml.unsafe_load numpy.load numpy.save numpy.fromfile
torch.load torch.save torch.hub.load torch.hub.download_url_to_file torch.jit.load torch.ops.load_library
torch.utils.cpp_extension.load torch.package.PackageImporter torch.nn.Linear torch.nn.Module
torch.optim torch.optim.Optimizer torch.optim.optimizer.Optimizer torch.optim.lr_scheduler.StepLR
torch.optim.optimizer.torch.hub.download_url_to_file torch.optim.optimizer.torch.save torch.optim.optimizer.torch.load
torch.optim.adam.torch.load torch.optim.optimizer.functools.partial torch.optim.Adam.step torch.optim.adam.adam
torch.optim.optimizer.warnings.sys.modules torch.optim.lr_scheduler.torch.hub.load torch.optim._functional
hydra.utils.get_object hydra.utils.instantiate hydra.utils.call omegaconf.OmegaConf.create
vaebench vaebench. vaebench.models vaebench.models. vaebench.models.ae vaebench.models.ae. .vaebench.models.ae
vaebench..models.ae.Autoencoder vaebench.models.ae.Autoencoder. vaebench.models.ae.Autoencoder..
vaebench.models.ae.autoencoder vaebench.models.ae.AutoEncoder Vaebench.models.ae.Autoencoder
vaebench.models.ae.Autoencoder.forward vaebench.models.ae.Autoencoder.__init__ vaebench.models.ae.Autoencoder.__class__
vaebench.models.ae.Autoencoder.__init__.__globals__ vaebench.models.ae.__builtins__ vaebench.models.ae.__loader__
vaebench.models.ae.torch.load vaebench.models.ae.nn.Linear vaebench.models.ae.Phase vaebench.models.ae.F.mse_loss
vaebench.models.vp_vae._Perturbation vaebench.models.fsq.Tokenizer vaebench.nn.tokenizers.tokenizer.Tokenizer
vaebench.runs.store.os.remove vaebench.disk.write_bytes vaebench.runs.kinds.eval.np.load vaebench.runs.kinds.eval.work
vaebench.runs.kinds.eval.io.open vaebench.sources.checkpoints.load vaebench.sources.checkpoints.cannot_load
vaebench.sources.generate.load vaebench.cli.main.main vaebench.cli.main.sys.exit vaebench.__main__.main
vaebench.runs.worker.work vaebench.runs.worker.os.system vaebench.runs.store.write_bytes
vaebench.runs.store.write_json vaebench.runs.store.Store vaebench.runs.store.tempfile.mkstemp
vaebench.runs.store.yaml.unsafe_load vaebench.engine.checkpoint.load_weights vaebench.engine.checkpoint.pickle.load
vaebench.engine.checkpoint.load_checkpoint vaebench.data.fetch.download vaebench.data.fetch.FileLock
vaebench.data.fetch.obtain vaebench.data.images.np.load vaebench.data.images.gzip.open
vaebench.runs.build.import_module vaebench.runs.build.signatures.functools vaebench.config.choices.find
vaebench.config.choices.import_module vaebench.embedders.sentence.import_module vaebench.cli.commands.train
vaebench.runs.executors.local.Crew vaebench.config.compose.hydra_compose vaebench.engine.runtime.setup
vaebench.metrics.cost.Design vaebench.metrics.cost.measure vaebench.report.write vaebench.references.file.np.load
vaebench.suites.references.np.load
""".split()
ODD: list[Any] = [
    *(None, True, 0, 1.5, "", " ", ".", "..", "model", "Autoencoder", "vaebench.models.ae:Autoencoder"),
    *([], ["vaebench.models.ae.Autoencoder"], {}, {"_target_": "os.system"}, {"vaebench": "models"}),
    " vaebench.models.ae.Autoencoder",
    "vaebench.models.ae.Autoencoder ",
    "vaebench.models.ae.Autoencoder\n",
    "vaebench.models.ae.Autoencoder\x00",
    "vaebench/models/ae/Autoencoder",
    "vaebench.models.ae.Autoencoder()",
    "vaebеnch.models.ae.Autoencoder",  # noqa: RUF001 (a Cyrillic letter)
    "vaebench.models.ａｅ.Autoencoder",  # noqa: RUF001 (full-width letters, plain to a parser)
    "vaebench.models.ae.Auto\u00adencoder",
    "torch.оptim.Adam",  # noqa: RUF001
    "${oc.env:HOME}",
    "vaebench.models.${oc.env:USER}",
    "x" * 200_000,
    "a." * 50_000 + "b",
]


def foreign(where: str) -> list[Any]:
    """Hostile targets for a kind of leaf, among them what is right for another kind."""
    others = {leaf(group, name).get("_target_") for group in {*WHERE.values()} for name in choices(group)}
    own = {leaf(WHERE[where], name).get("_target_") for name in choices(WHERE[where])}
    return [*ELSEWHERE, *ODD, *sorted(others - own - {None})]


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder to run in that stays empty, in which no module is imported that was not asked for."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert not list(folder.iterdir())


def test_there_are_more_than_a_hundred():
    assert len(set(ELSEWHERE)) > 100


@pytest.mark.parametrize("where", sorted(WHERE))
def test_nothing_is_imported_or_called_for_a_foreign_target(where, monkeypatch):
    build.check({"optim": leaf("optim", "adam")})  # torch's own are known from here on
    before = set(sys.modules)
    monkeypatch.setattr(config, "import_module", lambda name: pytest.fail(f"imported {name}"))
    for target in foreign(where):
        with pytest.raises(UserError) as caught:
            build.check({where: {"_target_": target, "path": "canary", "command": "touch canary"}})
        (line,) = caught.value.lines
        assert line.startswith(f"{where}._target_=")
        assert f"no file of conf/{WHERE[where]} names it" in line
        assert len(line) < 1200
        assert "\n" not in line
    assert set(sys.modules) == before


@pytest.mark.parametrize("group", sorted(set(WHERE.values())))
def test_every_choice_is_found_as_what_it_says(group):
    where = {group: name for name, group in WHERE.items()}[group]
    found = [leaf(group, name).get("_target_") for name in choices(group)]
    for target in filter(None, found):
        callee = config.find(where, target)
        assert callee.__qualname__ == target.rpartition(".")[2]
        assert group == "optim" or f"{callee.__module__}.{callee.__qualname__}" == target


def test_optimisers_are_those_of_torch_and_of_the_configuration():
    for target in ("torch.optim.SGD", "torch.optim.sgd.SGD", "torch.optim.RMSprop", "torch.optim.AdamW"):
        assert issubclass(config.find("optim", target), torch.optim.Optimizer)
    with pytest.raises(UserError, match="no file of conf/model names it"):
        config.find("model", "torch.optim.SGD")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of our own, whose models name what a careless hand might write."""
    folder = tmp_path / "conf"
    (folder / "model").mkdir(parents=True)
    monkeypatch.setattr(origins, "conf_dir", lambda: folder)
    return folder / "model"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("vaebench.models.ae.torch", "vaebench.models.ae defines no class or function torch"),
        ("vaebench.models.ae.Phase", "vaebench.models.ae defines no class or function Phase"),
        ("vaebench.models.ae.nowhere", "vaebench.models.ae defines no class or function nowhere"),
        ("vaebench.models.nowhere.Model", r"cannot be imported \(ModuleNotFoundError\)"),
        ("vaebench.models.ae.Autoencoder.loss", r"cannot be imported \(ModuleNotFoundError\)"),
        ("os.path.join", "is not built, no file of conf/model names it"),
        ("print", "is not built, no file of conf/model names it"),
    ],
)
def test_what_is_named_has_to_be_defined_there(target, message, conf):
    (conf / "own.yaml").write_text(f"_target_: {target}\n")
    (conf / "broken.yaml").write_text("_target_: [\n")  # is the concern of whoever chooses it
    (conf / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match=message):
        config.find("model", target)


def test_what_is_made_has_to_be_of_the_leafs_kind(conf):
    (conf / "own.yaml").write_text("_target_: vaebench.suites.masks.Masks\n")
    made = {"_target_": "vaebench.suites.masks.Masks", **leaf_of_checkout("suite", "masks")}
    with pytest.raises(UserError, match=r"model._target_=.*: makes a Masks, which is of another kind"):
        build.model(Request({"model": made}))


def leaf_of_checkout(group: str, name: str) -> dict[str, Any]:
    folder = Path(__file__).resolve().parent.parent / "conf"
    return dict(yaml.safe_load((folder / group / f"{name}.yaml").read_text()))


# --- through the door: a run folder of the right key that says it is done -------------------------------------------

PLAIN = ["experiment=ldmae/vmae", "dataset=digits", *VIT, "model.perceptual=none", "train.max_steps=2"]
DIFFUSION = ["model=ldm", "dataset=digits", "model.width=16", "model.depth=1", "model.heads=2", "train.max_steps=2"]


@pytest.fixture(scope="module")
def honest() -> dict[str, Any]:
    """The request of a small autoencoder as plain data."""
    with session():
        return dict(training(compose("train", PLAIN))[-1].data)


def finished(home: Path, data: dict[str, Any]) -> Run:
    """A run folder that claims to be done."""
    run = Store(home).open(Request(data))
    run.path("result.json").write_text(
        json.dumps({"steps": 2, "epochs": 0.1, "parameters": 1, "dataset_digest": "", "train_items": 1})
    )
    run.set_status("done")
    return run


def with_part(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at ``model.network``."""
    copy = json.loads(json.dumps(data))
    *before, last = path.split(".")
    node = copy
    for name in before:
        node = node[name]
    node[last] = value
    return copy


@pytest.mark.usefixtures("composing")
def test_a_hundred_stored_requests_are_refused_in_one_line(home, honest, untouched, monkeypatch):
    cfg = compose("train", [*DIFFUSION, "quiet=true"])
    build.check({"optim": honest["optim"], "model": honest["model"], "dataset": honest["dataset"]})
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    for part in ("model", "dataset"):
        for target in foreign(part)[:: 1 if part == "model" else 8]:
            other = {"_target_": target, "f": "canary", "command": "touch canary", "data": None, "name": "digits"}
            run = finished(home, {**honest, part: other})
            cfg.parent.run = run.key
            with pytest.raises(UserError) as caught:
                commands.train(cfg)
            assert len(caught.value.lines) == 1
            assert re.search(rf"{part}\._target_(=| is )", str(caught.value))
    assert not list(home.glob("*/model.safetensors"))


NESTED = [
    ("model.network", {"_target_": "os.system", "command": "touch canary"}, "a _target_ inside another"),
    ("model.network", {"kind": "os.system"}, "model.network.kind='os.system': is not built"),
    ("model.network", {"kind": ["vit"]}, "unknown model.network.kind"),
    ("model.network", {"kind": "vit", "_target_": "vaebench.models.ae.Autoencoder"}, "a _target_ inside another"),
    ("model.network.width", {"_target_": "os.getcwd"}, "a _target_ inside another"),
    ("model.network.width", [[{"_target_": "os.getcwd"}]], "a _target_ inside another"),
    ("model.needs", [{"_target_": "os.getcwd"}], "a _target_ inside another"),
    ("model.version", {"_target_": "vaebench.models.vmae.VMAE"}, "a _target_ inside another"),
    ("model.network.width", "${oc.env:HOME}", "model.network.width='${oc.env:HOME}': expected a whole number"),
    ("model.perceptual", "${oc.env:HOME}", r"${oc.env:HOME}"),
    ("model._partial_", True, "unknown option 'model._partial_'"),
    ("model._args_", [1, 2], "unknown option 'model._args_'"),
    ("model._recursive_", True, "unknown option 'model._recursive_'"),
    ("model._convert_", "object", "unknown option 'model._convert_'"),
    ("model._call_", True, "unknown option 'model._call_'"),
    ("model._mode_", "x", "unknown option 'model._mode_'"),
    ("model.trust_remote_code", True, "add runtime.trust_remote_code=true if you trust it"),
    ("model.network.trust_remote_code", True, "code that comes with a model"),
    ("model.network.trust_remote_code", "yes", "code that comes with a model"),
    ("dataset.trust_remote_code", True, "code that comes with a model"),
    ("dataset.shape", {"_target_": "os.getcwd"}, "a _target_ inside another"),
    ("dataset._partial_", True, "unknown option 'dataset._partial_'"),
]


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(("path", "value", "message"), NESTED)
def test_what_is_nested_in_a_stored_request_is_refused(path, value, message, home, honest, untouched):
    run = finished(home, with_part(honest, path, value))
    cfg = compose("train", [*DIFFUSION, "quiet=true"])
    cfg.parent.run = run.key
    with pytest.raises(UserError) as caught:
        commands.train(cfg)
    assert message in str(caught.value)
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize("leaf", [None, 5, "vaebench.models.ae.Autoencoder", ["x"]])
def test_a_leaf_is_a_mapping(leaf):
    with pytest.raises(UserError, match=r"model=.*: cannot be built; choose one \(model=NAME\)"):
        build.check({"model": leaf})
    with pytest.raises(UserError, match="has no model with a _target_"):
        build.model(Request({"model": leaf}))


def test_the_same_target_twice_in_memory_is_still_inside_another(honest):
    target = honest["model"]["_target_"]
    model = {**honest["model"], "network": {"kind": "vit", "_target_": target}}
    with pytest.raises(UserError, match="a _target_ inside another"):
        build.model(Request({"model": model}))


def a_pickle(path: Path) -> None:
    """A file that writes ``canary`` when it is unpickled."""
    path.write_bytes(b"cbuiltins\nopen\n(Vcanary\nVw\ntR.")


def a_model_with_code(folder: Path) -> Path:
    """A language model's folder whose code writes ``canary`` when it is imported."""
    folder.mkdir()
    named = {"AutoConfig": "own.Config", "AutoTokenizer": ["own.Tokenizer", None], "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": named}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": named}))
    (folder / "own.py").write_text("open('canary', 'w').close()\nraise OSError('the code of the model ran')\n")
    return folder


DOORS = [
    {"_target_": "vaebench.disk.os.remove", "file": "canary.npy", "allow_pickle": True},
    {"_target_": "vaebench.sources.checkpoints.load", "place": "own", "revision": None, "dtype": "auto"}
    | {"trust_remote_code": True},
    {"_target_": "torch.optim.optimizer.torch.hub.download_url_to_file", "url": "file:///etc/hostname"}
    | {"dst": "canary", "progress": False},
    {"_target_": "torch.save", "obj": {}, "f": "canary"},
    {"_target_": "vaebench.runs.store.write_bytes", "path": "canary", "content": "x"},
    {"_target_": "vaebench.cli.main.main", "argv": ["list", "papers"]},
]
WORDS = {
    "train": ["train", *DIFFUSION],
    "eval": ["eval", *DIFFUSION, "suite=latent_diffusion"],
    "tuning": ["train", "experiment=ldmae/tune", "dataset=digits", "parent.experiment=null"],
}


@pytest.mark.parametrize(
    ("words", "model"),
    [
        *((WORDS["train"], door) for door in DOORS),
        *((words, door) for words in (WORDS["eval"], WORDS["tuning"]) for door in DOORS[:2]),
    ],
)
def test_the_commands_refuse_it(words, model, home, honest, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    a_pickle(tmp_path / "canary.npy")
    a_model_with_code(tmp_path / "own")
    parent = finished(home, {**honest, "model": model})
    assert run.refused(*words, f"parent.run={parent.key}", "quiet=true").startswith("error: model._target_=")
    assert not (tmp_path / "canary").exists()


def test_list_and_report_go_on_beside_it(home, honest, untouched, run):
    keys = [finished(home, {**honest, "model": {"_target_": target}}).key for target in ["os.system", "", 5, ["x"]]]
    keys.append(finished(home, honest).key)
    out = run.done("list", "runs")
    assert all(key in out for key in keys)
    assert "no cells.csv of any paper yet" in run.refused("report")


def test_in_a_process_of_its_own(home, honest, tmp_path):
    a_pickle(tmp_path / "canary.npy")
    run = finished(home, {**honest, "model": DOORS[0]})
    done = python(*VAEBENCH, "train", *DIFFUSION, f"parent.run={run.key}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("warning:"))
    assert line.startswith("error: model._target_='vaebench.disk.os.remove': is not built")
    assert not (tmp_path / "canary").exists()
    assert len(list(home.iterdir())) == 1


def test_a_worker_refuses_it_too(home, honest, untouched):
    for part in ("model", "dataset", "optim"):
        hostile = {"_target_": "os.system", "name": "x", "command": "touch canary"}
        reason = failed(home, Request({**honest, part: hostile}))
        assert reason.startswith(f"{part}._target_='os.system': is not built")


@pytest.mark.usefixtures("composing")
def test_a_parents_parent_is_refused(home, honest, untouched):
    """A diffusion model that is right, on an autoencoder that is not."""
    hostile = finished(home, {**honest, "model": {"_target_": "os.system", "command": "touch canary"}})
    diffusion = compose("train", [*DIFFUSION, "parent.experiment=ldmae/vmae"])
    model, optim, train = (dict(training(diffusion)[-1][part]) for part in ("model", "optim", "train"))
    stored = {"flip": False, "dtype": "float32"}
    latents = finished(home, {"verb": "latents", "latents": stored, "parents": {"autoencoder": hostile.key}})
    of = {"name": "x", "digest": "x", "note": "", "stand_in": False, "source": "x"}
    latents.path("result.json").write_text(json.dumps({"shape": [4, 1, 1], "images": 1, "of": of}))
    behind = {"latents": latents.key, "autoencoder": hostile.key}
    data = {**honest, "model": model, "optim": optim, "train": train, "parents": behind}
    run = finished(home, data)
    weights = build.model(Request(data), latent_shape=[4, 1, 1])
    run.path("model.safetensors").write_bytes(weights_bytes(weights.state_dict()))
    suite = {"_target_": "vaebench.suites.latent_diffusion.LatentDiffusion", **leaf("suite", "latent_diffusion")}
    reason = failed(home, Request({"verb": "eval", "suite": suite, "parents": {"run": run.key}}))
    assert reason.startswith("model._target_='os.system': is not built")


@pytest.mark.parametrize("key", ["../../x", "../../../../x", "/etc", "", ".", "..", "0" * 11, "g" * 12, 5, None, ["x"]])
def test_a_parent_is_a_key_and_nothing_else(key, home, honest):
    reason = failed(home, Request({**honest, "parents": {"start": key, "role": "0123456789ab"}}))
    assert "parents.start" in reason
    assert "no run's key" in reason


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize("key", ["../../../abc", "............", "/etc/passwdx", "G" * 12, "${store}", "0" * 200])
def test_a_key_on_the_command_line_is_no_path(key, home, honest):
    finished(home, honest)
    cfg = compose("train", [*DIFFUSION, "quiet=true"])
    cfg.parent.run = key.replace("${", "\\${")
    with pytest.raises(UserError, match="there is no such run"):
        commands.train(cfg)


@pytest.mark.usefixtures("composing")
def test_nothing_is_looked_up_for_what_a_stored_run_hands_on(home, monkeypatch):
    """The encoder of a stored run becomes a part of a new request, in which ``${...}`` is a text like any other."""
    monkeypatch.setenv("SECRET", "canary")
    sizes = ["model.encoder.width=8", "model.encoder.strides=[2,7]"]
    learner = training(compose("train", ["experiment=dmvae/ssl", "dataset=digits", *sizes]))[-1]
    data = with_part(json.loads(json.dumps(dict(learner.data))), "model.encoder.kind", "${oc.env:SECRET}")
    run = finished(home, data)
    *_, tokenizer = training(
        compose("train", ["experiment=dmvae/tokenizer", "dataset=digits", f"chain.encoder.run={run.key}"])
    )
    assert tokenizer["model"]["encoder"]["kind"] == "${oc.env:SECRET}"
    with pytest.raises(UserError, match=r"unknown model\.encoder\.kind") as caught:
        build.model(tokenizer)
    assert "canary" not in str(caught.value)


def test_what_a_leaf_needs_is_looked_for_without_an_import(untouched):
    (untouched.parent / "needed").mkdir()
    before = set(sys.modules)
    assert compat.missing(["torch.nowhere", "xml.etree.nowhere", "nowhere.at.all"]) == ["nowhere.at.all"]
    assert set(sys.modules) == before


def test_a_value_is_passed_on_as_it_stands(monkeypatch):
    """Text that looks like an interpolation is text; what is built cannot change the request."""
    monkeypatch.setenv("SECRET", "canary")
    answers = {**leaf("answers", "hf"), "trust_remote_code": False, "instruction": "Is ${oc.env:SECRET} 5? \\${x}"}
    request = Request({"answers": answers})
    source: Any = build.source(request, remote_code=False)
    assert source.instruction == "Is ${oc.env:SECRET} 5? \\${x}"
    network = {**leaf("network", "vit"), "patch": 7}
    made = Request({"model": {**leaf("model", "vmae"), "network": network, "input_shape": [1, 28, 28]}})
    before = json.dumps(made["model"], default=str)
    with pytest.raises(UserError, match=r"unknown option 'model\.defaults'"):
        build.model(made)
    assert json.dumps(made["model"], default=str) == before


@pytest.mark.parametrize("target", ["system", "vaebench.models.[/b].x", "\x1b[31m", "a\nb.c.d", None, 5, ["x"], {}])
def test_any_leaf_has_a_name(target):
    name = config.called({"_target_": target})
    assert name == "unknown"
    request = Request({"verb": "eval", "suite": {"_target_": target}, "parents": {"run": "0" * 12}})
    assert kinds.title(request) == f"unknown of {'0' * 12}"
    assert config.called({"_target_": "vaebench.models.fsq.fsq"}) == "fsq"
    assert config.called({"_target_": "mine.Model"}) == "Model"


# --- code that comes with a model ----------------------------------------------------------------------------------


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a canary would be written; the model that does lies beside."""
    dynamic = pytest.importorskip("transformers.dynamic_module_utils")
    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    a_model_with_code(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"


ASK = ["dataset=recorded", "problems@dataset.problems=arithmetic", "dataset.problems.train=20"]
ASK += ["dataset.problems.test=4", "answers@dataset.answers=hf", "dataset.answers.model=own", "quiet=true"]


@pytest.mark.parametrize("verb", ["answers", "prompt"])
def test_code_of_a_model_runs_where_the_command_says_so_and_nowhere_else(verb, owned, run):
    words = [verb, *ASK]
    line = run.refused(*words, "dataset.answers.trust_remote_code=true")
    assert "add runtime.trust_remote_code=true if you trust it" in line
    assert run(*words).code == 2
    assert not owned.exists()
    assert run(*words, "runtime.trust_remote_code=true").code == 2
    assert owned.exists(), "else this test could not fail"


@pytest.mark.usefixtures("composing")
def test_a_worker_asks_its_command_and_not_the_stored_request(home, owned):
    cfg = compose("train", [*ASK, "model=rcvae", "runtime.trust_remote_code=true"])
    assert asdict(cfg.runtime)["trust_remote_code"] is True  # what commands tell their workers
    asked = evaluation.answers(cfg)[-1]
    assert asked["answers"]["trust_remote_code"] is True
    run = Store(home).open(asked)
    for machine in (MACHINE, {**MACHINE, "trust_remote_code": False}):
        assert "add runtime.trust_remote_code=true" in work(run, machine).reason
        assert not owned.exists()
    with pytest.raises(UserError, match=r"add runtime\.trust_remote_code=true"):
        kinds.of("answers").work(run, kinds.Setup(torch.device("cpu"), lambda *_: None, lambda: False))
    work(run, {**MACHINE, "trust_remote_code": True})
    assert owned.exists(), "else this test could not fail"


@pytest.mark.usefixtures("composing")
def test_without_it_requests_are_what_they_were():
    asked = evaluation.answers(compose("train", [*ASK, "model=rcvae"]))[-1]
    assert asked["answers"]["trust_remote_code"] is False
