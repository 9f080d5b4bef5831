"""Packages and folders of other people: what they add, what names their runs, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from commands import VAEBENCH, python, site
from vaebench.cli.new import KINDS, new
from vaebench.config import origins
from vaebench.config.choices import choices, pictures
from vaebench.runs.store import Store

FAST = ("dataset=digits", "train.max_steps=2", "quiet=true")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what is put into the environment is taken out again."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.setenv(origins.FOLDERS, "")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    origins._origins.cache_clear()
    yield folder
    origins._origins.cache_clear()


@pytest.fixture
def package(here: Path, request: pytest.FixtureRequest) -> Path:
    """A package with a model, under a name that no other test imports."""
    name = f"mine_{abs(hash(request.node.name)) % 10**8}"
    new(["model", name])
    return here / name / name


def folder(place: Path, name: str, content: str, group: str = "model") -> Path:
    """A plain folder with one choice."""
    (place / group).mkdir(parents=True, exist_ok=True)
    (place / group / f"{name}.yaml").write_text(content)
    return place


def installed_as(place: Path, name: str, package: str, version: str = "1.2.3", **files: str) -> None:
    """What pip writes of a distribution with an entry point, in a folder that Python looks into."""
    sys.path.insert(0, str(place))
    origins._origins.cache_clear()
    about = place / f"{name}-{version}.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[{origins.PLUGINS}]\n{name} = {package}\n")
    for file, content in files.items():
        (about / file.replace("__", ".")).write_text(content)


def trained(run, *words: str) -> dict:
    """The request of the newest run, which the command makes."""
    run.done("train", *words, *FAST)
    return yaml.safe_load((Store(Path(os.environ["VAEBENCH_HOME"])).runs()[-1].folder / "request.yaml").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_passes_its_own_tests_when_it_is_installed(kind, here, installed):
    said = python(*VAEBENCH, "new", kind, "fresh", path=installed, cwd=here)
    assert said.returncode == 0, said.stderr
    assert "pip install -e ." in said.stdout
    path = os.pathsep.join(map(str, (installed, site(here / "fresh", here / "built"))))
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", path=path, cwd=here / "fresh")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    listed = python(*VAEBENCH, "list", f"{kind}s", path=path, cwd=here, env={"COLUMNS": "200"})
    assert "fresh (fresh 0.1.0)" in listed.stdout, listed.stderr


def test_a_folder_adds_a_variant_of_what_there_is_and_changes_no_key(run, here):
    folder(here / "mine", "wide", "defaults: [ae, _self_]\nlatent_dim: 128\n")
    own = trained(run, "--conf", "mine", "model=wide")
    assert own["model"]["_target_"] == "vaebench.models.ae.Autoencoder"
    assert "plugins" not in own
    assert own == trained(run, "model=ae", "model.latent_dim=128")


def test_code_that_is_edited_makes_another_run(run, package):
    name = package.name
    first = trained(run, f"--conf={package}", f"model={name}")
    origins._origins.cache_clear()
    assert first["plugins"] == {name: {"code": first["plugins"][name]["code"]}}
    (package / "model.py").write_text((package / "model.py").read_text() + "\n# another\n")
    assert trained(run, f"--conf={package}", f"model={name}")["plugins"] != first["plugins"]
    provenance = [one.provenance() for one in Store(Path(os.environ["VAEBENCH_HOME"])).runs()]
    assert provenance[0]["plugins"] == first["plugins"]


def test_committed_code_is_named_by_its_commit(package):
    git = ["git", "-C", str(package), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    os.environ[origins.FOLDERS] = str(package)
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    assert origins.origins()[1].identity == {"commit": head.stdout.strip()}


def test_an_installed_plug_in_is_known_by_its_version(run, package):
    installed_as(package.parent, "apart", package.name)
    request = trained(run, f"model={package.name}")
    assert request["plugins"] == {"apart": {"version": "1.2.3"}}
    assert f"{package.name} (apart 1.2.3)" in run.done("list", "models").replace("\n", " ")


def test_an_editable_one_by_its_code_too(package):
    about = '{"url": "file:///somewhere", "dir_info": {"editable": true}}'
    installed_as(package.parent, "apart", package.name, direct_url__json=about)
    assert origins.origins()[1].identity.keys() == {"version", "code"}


def test_a_stored_run_whose_plug_in_is_missing_says_so(run, package):
    run.done("train", "--conf", str(package), f"model={package.name}", *FAST)
    (key,) = (one.key for one in Store(Path(os.environ["VAEBENCH_HOME"])).runs())
    os.environ[origins.FOLDERS] = ""
    said = run.refused("train", "model=ldm", "parent.run=" + key, *FAST)
    assert f"model._target_='{package.name}.model." in said
    assert "install the plug-in it comes from (or name its folder: --conf DIR)" in said
    assert "choices" not in run.done("list", "runs")


@pytest.mark.parametrize(
    ("group", "name", "content", "message"),
    [
        ("model", "ae", "latent_dim: 1", "mine: model/ae.yaml: vaebench has a model of that name; rename it"),
        ("modell", "new", "a: 1", "mine: unknown group 'modell'; did you mean 'model'?"),
        (".", "train", "a: 1", "mine: train.yaml: stands in no group; valid folders: answers, autoencoder"),
    ],
)
def test_a_folder_that_shadows_or_is_misnamed_is_refused(run, here, group, name, content, message):
    folder(here / "mine", name, content, group)
    assert message in run.refused("train", "--conf", "mine", "model=ae")


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "vaebench.disk.write_bytes", "torch.nn.Linear"])
def test_a_file_names_its_own_code_only(run, here, target):
    folder(here / "mine", "evil", f"_target_: {target}\nversion: 1\n")
    (here / "mine" / "code_of_mine.py").write_text("")
    said = run.refused("train", "--conf", "mine", "model=evil", *FAST)
    assert f"model._target_={target!r}: is not built, it is no code of mine, whose file names it" in said


PARTS = """
import hashlib

import numpy as np
from torch import Tensor, nn

from vaebench.config.signatures import Count
from vaebench.data.answers import Answers, answers
from vaebench.data.problems import Pair, Problem, Problems
from vaebench.nn.tokenizers.autoencoders import ImageAutoencoder


class Encoder(nn.Module):
    pretrained, grid = False, (2, 2)

    def __init__(self, *, input_shape: list[int], width: Count) -> None:
        super().__init__()
        self.outputs = width
        self.body = nn.Conv2d(input_shape[0], width, input_shape[1] // 2, input_shape[1] // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(2 * x - 1)

    def load_pretrained(self) -> None: ...


class Decoder(nn.ConvTranspose2d):
    def __init__(self, *, latent_shape: list[int], input_shape: list[int]) -> None:
        super().__init__(latent_shape[0], input_shape[0], input_shape[1] // 2, input_shape[1] // 2)

    @property
    def last_weight(self) -> nn.Parameter:
        return self.weight


class Squeezed(ImageAutoencoder):
    shrink = 4

    def __init__(self, *, input_shape: list[int], width: Count) -> None:
        self.input_shape, self.width, self.perceptual = input_shape, width, 0.0
        self._begin()
        self.encoder = nn.Conv2d(input_shape[0], width, 4, 4)
        self.decoder = nn.ConvTranspose2d(width, input_shape[0], 4, 4)


def sums(*, name: str, largest: Count) -> Problems:
    asked = [(f"{a} + {b} = ?", str(a + b)) for a in range(largest) for b in range(largest)]
    train = tuple(Pair(question, f"#### {total}") for question, total in asked[::2])
    test = tuple(Problem(str(row), *one) for row, one in enumerate(asked[1::2]))
    digest = hashlib.sha256(str(asked).encode()).hexdigest()[:16]
    return Problems(name, train, test, source="embedded", digest=digest, note="sums", stand_in=True)


class Guess:
    left_out, notes = (), ()

    def __init__(self, *, k: Count, shard: Count) -> None:
        self.k, self.shard = k, shard

    def open(self, problems, work) -> None:
        self.gold = [int(one.gold) for one in problems.test]

    def answer(self, rows: range) -> Answers:
        both = [(row, n) for row in rows for n in range(self.k)]
        return answers((row, n, "guess", f"#### {self.gold[row] + n % 2}", -1.0, 3, 1) for row, n in both)
"""
CONF = {
    "encoder/mine_patches": "kind: parts_of_mine.Encoder\nversion: 1\nwidth: 8\n",
    "decoder/mine_patches": "kind: parts_of_mine.Decoder\nversion: 1\n",
    "autoencoder/mine_squeezed": "kind: parts_of_mine.Squeezed\nversion: 1\nwidth: 8\n",
    "problems/mine_sums": "_target_: parts_of_mine.sums\nname: sums\nversion: 1\nlargest: 8\n"
    "scorers: {gsm8k_number: 2}\n",
    "answers/mine_guess": "_target_: parts_of_mine.Guess\nversion: 1\nk: 2\nshard: 20\n",
    "dataset/mine_sums": "defaults: [{/problems@problems: mine_sums}, {/answers@answers: mine_guess}]\nname: sums\n",
    "network/mine_evil": "kind: subprocess.Popen\nversion: 1\n",
    "network/mine_odd": "kind: parts_of_mine.Encoder\nversion: 1\nwidth: 8\n",
}


@pytest.fixture
def parts(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parts of models, a set of problems and who answers them."""
    for path, content in CONF.items():
        group, _, name = path.partition("/")
        folder(here / "mine", name, content, group)
    (here / "mine" / "parts_of_mine.py").write_text(PARTS)
    sys.modules.pop("parts_of_mine", None)
    monkeypatch.setenv(origins.FOLDERS, str(here / "mine"))
    return here / "mine"


def test_parts_of_models_and_sources_of_data_are_ones_own(run, parts, home):
    chain = [
        "experiment=dmvae/tokenizer",
        "chain.encoder.overrides=['encoder@model.encoder=mine_patches','train.max_steps=2']",
    ]
    run.done("train", *chain, "decoder@model.decoder=mine_patches", *FAST)
    run.done("train", "model=vq_vae", "autoencoder@model.autoencoder=mine_squeezed", *FAST)
    assert "64 to 32 of 32 problems" in run.done("answers", "dataset=mine_sums", "quiet=true")
    run.done(
        "eval",
        "dataset=mine_sums",
        "suite=selection",
        "model.hidden=[8]",
        "train.batch_size=8",
        "embedder.dim=2",
        *FAST[1:],
    )
    requests = [one.request().data for one in Store(home).runs()]
    own = [data for data in requests if "parts_of_mine" in str(data)]
    assert {data["verb"] for data in own} == {"train", "answers", "embed", "grade", "eval"}
    assert all(data["plugins"].keys() == {"mine"} for data in own)
    first = next(data for data in own if data["model"]["_target_"].endswith("FeatureAutoencoder"))
    assert first["model"]["encoder"]["kind"] == "parts_of_mine.Encoder"  # filled in from the encoder's run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("network@model.network=mine_evil",),
            "model.network.kind='subprocess.Popen': is not built, it is no code of mine",
        ),
        (
            ("model.network.kind=os.path.join",),
            "model.network.kind='os.path.join': is not built, no file of conf/network",
        ),
        (("model.network.kind=parts_of_mine.Decoder",), "no file of conf/network names it"),
        (
            ("network@model.network=mine_odd",),
            "kind=parts_of_mine.Encoder: has no encode, decode, latent_shape, last_weight",
        ),
        (("network@model.network=mine_odd", "model.network.widht=3"), "did you mean 'model.network.width'?"),
        (("network@model.network=mine_odd", "model.network.width=0"), "model.network.width=0: expected a whole number"),
    ],
)
def test_a_part_is_the_code_of_its_own_plug_in(run, parts, words, message):
    assert message in run.refused("train", "model=grid_ae", *words, *FAST)


def test_a_paper_is_not_called_like_all_of_them(run, here):
    folder(here / "mine", "all", "title: All\n", "paper")
    assert "`paper=all` stands for every paper; rename it" in run.refused("plan", "--conf", "mine")


def test_the_pictures_of_a_plug_in_are_found_by_who_only_reports(here):
    folder(here / "mine", "seen", "_target_: seen_by_mine.Seen\nversion: 1\n", "suite")
    folder(here / "mine", "unseen", "_target_: nowhere.to_be.Found\nversion: 1\n", "suite")
    (here / "mine" / "seen_by_mine.py").write_text("class Seen: ...\n")
    os.environ[origins.FOLDERS] = str(here / "mine")
    assert pictures("seen") == pictures("unseen") == ()


def test_code_that_cannot_be_imported_is_one_line(run, here):
    folder(here / "mine", "broken", "_target_: broken_code.Model\nversion: 1\n")
    (here / "mine" / "broken_code.py").write_text("import a_package_that_is_not_there\n")
    said = run.refused("train", "--conf", "mine", "model=broken", *FAST)
    assert "cannot be imported (ModuleNotFoundError: No module named 'a_package_that_is_not_there')" in said


def test_a_module_that_another_package_has_is_not_taken_for_ones_own(run, here):
    folder(here / "mine", "shadowed", "_target_: colorsys.Model\nversion: 1\n")
    (here / "mine" / "colorsys.py").write_text("class Model: ...\n")
    said = run.refused("train", "--conf", "mine", "model=shadowed", *FAST)
    assert "colorsys is " in said
    assert f"and not of {here / 'mine'}; rename yours" in said


def test_two_plug_ins_with_one_name_are_refused(run, here):
    for place in ("one", "other"):
        folder(here / place / "mine", "same", "defaults: [ae]\n")
    said = run.failed("train", "--conf", "one/mine", "--conf", "other/mine", "model=ae")
    assert "mine: model/same.yaml: plug-in mine has a model of that name; rename it" in said


@pytest.mark.parametrize(
    ("package", "message"),
    [("nowhere_at_all", "there is no package nowhere_at_all"), ("email", "its package email has no folder conf")],
)
def test_a_broken_installation_is_one_line(run, here, package, message):
    installed_as(here / "site", "apart", package)
    assert f"plug-in apart: {message}" in run.refused("list", "models")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new"], "vaebench new: which? `vaebench new model|dataset|suite|paper NAME`"),
        (["new", "modell", "mine"], "unknown kind 'modell'; did you mean 'model'?"),
        (["new", "model", "My-Model"], "My-Model: is no name of a package; small letters, digits and _"),
        (["new", "model", "ae"], "ae: there is a model of that name; choose another"),
        (["new", "suite", "email"], "email: there is a Python package of that name; choose another"),
        (["new", "model", "taken"], "taken: there is something of that name here"),
        (["train", "--conf"], "--conf: name a folder of your own choices (--conf DIR)"),
        (["train", "--conf", "nowhere"], "there is no such folder"),
    ],
)
def test_mistakes_are_one_line(run, here, words, message):
    (here / "taken").mkdir()
    (here / "taken" / "file").touch()
    assert message in run.refused(*words)


def test_what_there_is_stays_what_it_was(here):
    before = choices("model")
    os.environ[origins.FOLDERS] = str(folder(here / "mine", "wide", "defaults: [ae]\n"))
    assert choices("model") == sorted([*before, "wide"])
    os.environ[origins.FOLDERS] = ""
    assert choices("model") == before
