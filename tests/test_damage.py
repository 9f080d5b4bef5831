"""Every file of every kind of run folder, damaged in every way: no command ends in a traceback or takes a wrong number.

A generator: small finished runs are made once, and each case copies them, damages one file and runs the commands that
read it. They either give the numbers they gave before or refuse in one line.
"""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save

from chains import VIT, listed, recorded, written
from vaebench.cli import main as cli
from vaebench.config import compose
from vaebench.config.request import Request
from vaebench.papers.cells import COLUMNS, Cells, cells_path
from vaebench.report.pictures import drawing
from vaebench.runs.store import Run

TINY = ["train.batch_size=32", "train.log_every=1"]
AUTOENCODER = [*VIT, *TINY, "model.perceptual=none", "train.max_steps=4", "train.snapshots=2"]
VMAE = ["experiment=ldmae/vmae", "dataset=digits", *AUTOENCODER]
LDM = ["experiment=ldmae/ldm", "dataset=digits", "model.width=16", "model.depth=1", "model.heads=2", *TINY]
LDM += ["train.max_steps=3", f"parent.overrides={listed(AUTOENCODER)}"]
PAIRS = ["model=rcvae", "dataset=recorded", "problems@dataset.problems=arithmetic", "dataset.problems.train=60"]
PAIRS += ["dataset.problems.test=4", "embedder.dim=8", "embedder.min_df=1", "model.hidden=[8]", "model.latent_dim=2"]
PAIRS += ["train.max_steps=2", "train.epochs=1", "train.batch_size=32"]
COMMANDS = {
    "train": ["train", *VMAE],
    "eval": ["eval", "suite=reconstruction", *VMAE],
    "snapshot": ["eval", "suite=reconstruction", "snapshot=1", *VMAE],
    "child": ["train", *LDM],
    "pick": ["eval", "suite=selection", "suite.bootstrap=100", *PAIRS],
    "list": ["list", "runs"],
}


@dataclass(frozen=True)
class Made:
    """A store with finished runs. ``keys`` of the runs by what they are; ``numbers``: what each command measured."""

    root: Path
    answers: Path
    keys: dict[str, str]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Composing a configuration costs more than all else here, and the words are few."""
    plain = compose.configurations
    once = cache(lambda name, words, sweep: plain(name, list(words), sweep=sweep))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            compose,
            "configurations",
            lambda name, words, *, sweep, images: copy.deepcopy(once(name, tuple(words), sweep)),
        )
        for function in (compose._composed, compose._resolved, compose._behind):
            patch.setattr(function, "cache_clear", lambda: None)  # which every command does, being a session of its own
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Made:
    """All kinds of runs, made by the commands themselves."""
    root, folder = tmp_path_factory.mktemp("damage") / "store", tmp_path_factory.mktemp("answers")
    answers = folder / "answers.jsonl"
    written(answers, recorded(PAIRS, "right", "more"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEBENCH_HOME", str(root))
        for name in ("train", "eval", "snapshot", "child", "pick"):
            assert cli.main(words(name, answers)) == 0, name
    keys = {}
    for path in sorted(root.rglob("request.yaml")):
        request = Run(path.parent).request()
        keys[name_of(request, path.parent)] = str(path.parent.relative_to(root))
    return Made(root, answers, keys)


def name_of(request: Request, folder: Path) -> str:
    verb = request["verb"]
    if verb == "train":
        model = request["model"]["_target_"].split(".")[2]
        return {"vmae": "autoencoder", "ldm": "diffusion", "rcvae": "picker"}[model]
    if verb == "embed":
        return "embedded" if "answers" in request.data.get("parents", {}) else "pairs"
    if verb == "eval" and folder.parent.name == "evals":
        return "snapshot" if "snapshot" in request.data else "measured"
    if verb == "eval":
        return "selection"
    return str(verb)


def words(name: str, answers: Path) -> list[str]:
    more = [f"dataset.answers.path={answers}"] if name == "pick" else []
    return [*COMMANDS[name], *more]


# What reads a run's files: the command, and what of the store is removed first, so that it has to be made again.
READERS = {
    "autoencoder": [("train", ()), ("eval", ("measured",)), ("child", ("diffusion", "latents"))],
    "measured": [("eval", ())],
    "snapshot": [("snapshot", ())],
    "latents": [("child", ("diffusion",))],
    "diffusion": [("child", ())],
    "answers": [("pick", ("selection",)), ("pick", ("grade", "embedded", "selection"))],
    "grade": [("pick", ("selection",))],
    "pairs": [("pick", ("picker", "selection")), ("pick", ("embedded", "selection"))],
    "embedded": [("pick", ("selection",))],
    "picker": [("pick", ("selection",))],
    "selection": [("pick", ())],
}
FILES = {
    "autoencoder": ("metrics.jsonl", "model.safetensors", "snapshots/1.safetensors"),
    "measured": ("arrays.npz",),
    "snapshot": ("arrays.npz",),
    "latents": ("latents-00000.safetensors", "shards.json"),
    "diffusion": ("metrics.jsonl", "model.safetensors"),
    "answers": ("answers-00000.parquet", "shards.json"),
    "grade": ("grades.parquet",),
    "pairs": ("questions-00000.safetensors", "solutions-00000.safetensors", "lsa.safetensors", "lsa-terms.json"),
    "embedded": ("questions-00000.safetensors", "solutions-00000.safetensors"),
    "picker": ("model.safetensors", "metrics.jsonl"),
    "selection": (),
}

Damage = Callable[[Path], None]
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{last}'] * 9)}]\n" for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)
JSON = {
    **{"list": b"[]", "null": b"null", "object": b"{}", "number": b"5", "text": b'"done"', "deep": b"[" * 100_000},
    **{"digits": b"9" * 5000, "nan": b'{"steps": NaN}', "word": b'{"status": "finished"}', "latin": b'{"a": "\xe9"}'},
    "path": b'{"status": "done", "files": {"../../x": {"sha256": "' + b"0" * 64 + b'", "bytes": 1}}}',
}
YAML = {
    **{"date": b"2020-01-01", "set": b"!!set {a, b}", "recursive": b"verb: &a [*a]", "laughs": LAUGHS.encode()},
    **{"nan": b"{verb: train, seed: .nan}", "deep": b"[" * 100_000},
    **{"python": b"!!python/object/apply:os.system ['true']"},
    **{"utf-8": b"verb: \xff\xfe", "binary": b"verb: !!binary aGVsbG8=", "verb": b"verb: eval\nparents: {}\n"},
}
LINES = {
    **{"list": b"[]\n", "word": b'{"step": "x"}\n', "binary": bytes(range(256))},
    "long": b'{"step": 1, "a": ' + b"1" * 200_000,
}


def put(content: bytes) -> Damage:
    return lambda path: (path.unlink(), path.write_bytes(content))[0]


def changed(change: Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path) -> None:
        content = change(path.read_bytes())
        path.unlink()  # the copies are hard links
        path.write_bytes(content)

    return damage


def flip(content: bytes) -> bytes:
    found = bytearray(content)
    found[len(found) // 2] ^= 1
    return bytes(found)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def linked(target: str) -> Damage:
    """A link; ``elsewhere`` is a file beside the store that must stay as it is."""

    def damage(path: Path) -> None:
        path.unlink()
        path.symlink_to(next(place for place in path.parents if place.name == "store").parent / target)

    return damage


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


ANY: dict[str, Damage] = {
    **{"absent": lambda path: path.unlink(), "empty": put(b""), "folder": folder, "pipe": pipe},
    **{"link": linked("elsewhere"), "dangling": linked("nowhere")},
    **{"half": changed(lambda content: content[: len(content) // 2]), "flip": changed(flip)},
    "garbage": put(bytes(range(256)) * 4),
}


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    return changed(lambda content: save({k: v.contiguous() for k, v in change(load(content)).items()}))


def first(found: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    name = max(found, key=lambda name: found[name].numel())
    return {**found, name: change(found[name])}


TENSORS = {
    "int8": tensors(lambda found: {k: v.to(torch.int8) for k, v in found.items()}),
    "zeros": tensors(lambda found: first(found, torch.zeros_like)),
    "shape": tensors(lambda found: first(found, lambda value: value[:1].clone())),
    "lacking": tensors(lambda found: dict(list(found.items())[1:])),
}


def table(change: Callable[[pa.Table], pa.Table]) -> Damage:
    def rewritten(content: bytes) -> bytes:
        out = io.BytesIO()
        pq.write_table(change(pq.read_table(io.BytesIO(content))), out)
        return out.getvalue()

    return changed(rewritten)


def column(found: pa.Table, number: int, values: Any) -> pa.Table:
    return found.set_column(number, found.column_names[number], values)


TABLES = {
    "lacking": table(lambda found: found.drop_columns(found.column_names[-1:])),
    "rows": table(lambda found: found.slice(0, len(found) - 1)),
    "nulls": table(lambda found: column(found, 1, pa.nulls(len(found), found.column(1).type))),
    "types": table(lambda found: column(found, 1, pa.array(["x"] * len(found)))),
    "flipped": table(lambda found: found.take(list(range(len(found)))[::-1])),
}


def npz(**arrays: np.ndarray) -> Damage:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return put(out.getvalue())


ARRAYS = {
    "objects": npz(inputs=np.array([{"a": 1}], dtype=object)),
    "others": npz(stranger=np.zeros(3)),
    "shapes": npz(inputs=np.zeros(3), reconstructions=np.zeros((2, 2))),
}


def contents(given: dict[str, bytes]) -> dict[str, Damage]:
    return {name: put(content) for name, content in given.items()}


BY_KIND: dict[str, dict[str, Damage]] = {
    **{".json": contents(JSON), ".yaml": contents(YAML), ".jsonl": contents(LINES)},
    **{".safetensors": TENSORS, ".parquet": TABLES, ".npz": ARRAYS},
}
CASES = [
    (run, file, damage)
    for run, files in FILES.items()
    for file in ("request.yaml", "status.json", "result.json", "provenance.json", *files)
    if not (file == "provenance.json" and run in ("measured", "snapshot", "selection"))
    for damage in (*ANY, *BY_KIND[Path(file).suffix])
]


def numbers(root: Path) -> dict[str, Any]:
    """What every evaluation in a store measured, by its folder, if its status says done."""
    found = {}
    for path in root.rglob("result.json"):
        if path.is_file() and Run(path.parent).status()["status"] == "done":
            with suppress(ValueError, AttributeError):  # damaged, and not read by the command
                found[str(path.parent.relative_to(root))] = json.loads(path.read_bytes()).get("measurements")
    return {name: values for name, values in found.items() if values}


def copied(made: Made, folder: Path) -> Path:
    root = folder / "store"
    shutil.copytree(made.root, root, copy_function=os.link)
    (folder / "elsewhere").write_text("not of the store")
    return root


def before_checksums(root: Path) -> None:
    """Make a store as 0.5.1 left it: no manifest; the sha256 of weights and latents in the results."""
    for path in root.rglob("status.json"):
        run = Run(path.parent)
        files = {name: facts["sha256"] for name, facts in run.status().get("files", {}).items()}
        result = run.result()
        shards = {name: value for name, value in files.items() if name.startswith("latents-")}
        result |= {"sha256": shards} if shards else {}
        result |= {"weights_sha256": files["model.safetensors"]} if "model.safetensors" in files else {}
        run.write_json("result.json", result)
        run.set_status("done")
        run.path("shards.json").unlink(missing_ok=True)


def damaged(made: Made, folder: Path, case: tuple[str, str, str], old: bool = False) -> list[str]:
    """Run all readers of a case; returns what is wrong with how they ended."""
    name, file, kind = case
    wrong = []
    for number, (command, removed) in enumerate([("list", ()), *READERS[name]]):
        place = folder / str(number)
        place.mkdir()
        root = copied(made, place)
        if old:
            before_checksums(root)
        wanted = numbers(root)
        for other in removed:
            shutil.rmtree(root / made.keys[other])
        path = root / made.keys[name] / file
        if not path.exists():  # a ledger, before there was one
            continue
        {**ANY, **BY_KIND[path.suffix]}[kind](path)
        wrong += [f"{command}: {text}" for text in ended(command, made, root, wanted, exact=not old)]
        if (place / "elsewhere").read_text() != "not of the store":
            wrong.append(f"{command}: wrote through a link")
        shutil.rmtree(place)
    return wrong


def ended(command: str, made: Made, root: Path, wanted: dict[str, Any], *, exact: bool) -> list[str]:
    """What is wrong with how a command ends on a damaged store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEBENCH_HOME", str(root))
        try:
            code = cli.main(words(command, made.answers))
        except BaseException as error:
            return [f"{type(error).__name__}: {error}"]
    if code not in (0, 1, 2):
        return [f"exit code {code}"]
    if command == "list":
        return [] if code == 0 else ["list did not list the others"]
    found = numbers(root) if code == 0 and exact else {}
    return [f"{name} says other numbers" for name, values in found.items() if wanted.get(name, values) != values]


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What is refused is said in one line."""
    yield
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert all(len(line) < 1200 for line in errors)


def test_there_are_enough_cases():
    assert len(CASES) >= 189
    assert {file for _, file, _ in CASES} >= {"status.json", "request.yaml", "grades.parquet", "arrays.npz"}


@pytest.mark.usefixtures("one_line")
@pytest.mark.parametrize("case", CASES[::47], ids="-".join)
def test_a_damaged_file_is_refused_or_harmless(case, made, tmp_path):
    assert damaged(made, tmp_path, case) == []


@pytest.mark.slow
@pytest.mark.usefixtures("one_line")
@pytest.mark.parametrize("old", [False, True], ids=["now", "before"])
@pytest.mark.parametrize("name", FILES)
def test_every_damage_to_every_file(name, old, made, tmp_path):
    wrong = []
    for number, case in enumerate(case for case in CASES if case[0] == name):
        place = tmp_path / str(number)
        place.mkdir()
        wrong += [f"{'-'.join(case)}: {text}" for text in damaged(made, place, case, old)]
    assert wrong == []


@pytest.mark.parametrize("name", ["autoencoder", "latents"])
def test_a_run_from_before_checksums_is_read_and_its_weights_compared(name, made, tmp_path):
    root = copied(made, tmp_path)
    before_checksums(root)
    wanted = numbers(root)
    for other in ("measured", "diffusion"):
        shutil.rmtree(root / made.keys[other])
    assert ended("eval", made, root, wanted, exact=True) == []
    assert ended("child", made, root, wanted, exact=True) == []
    assert Run(root / made.keys["diffusion"]).done
    shutil.rmtree(root / made.keys["diffusion"])
    shutil.rmtree(root / made.keys["measured"])
    file = "model.safetensors" if name == "autoencoder" else "latents-00000.safetensors"
    TENSORS["zeros"](root / made.keys[name] / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEBENCH_HOME", str(root))
        assert cli.main(words("eval" if name == "autoencoder" else "child", made.answers)) == 2


def cells_of(made: Made, results: Path) -> None:
    """Cells of a table, measured by the store's evaluation of its autoencoder."""
    run, evaluation = made.keys["autoencoder"], Path(made.keys["measured"]).name
    texts = dict.fromkeys(COLUMNS, "x") | {"protocol": "{}", "by_seed": "[]", "low": None, "high": None}
    texts |= {"paper": "batchtopk", "table": "table1", "run": run, "eval": evaluation, "scale": "smoke"}
    texts |= {"dataset": "digits", "count": 360, "stand_in": 1, "epochs": 1.0, "train_images": 1437, "seed": 0}
    measured = [{**texts, "row": "batchtopk", "column": "psnr", "value": 8.3, "measurement": "psnr", "unit": "dB"}]
    path = cells_path(results, "batchtopk")
    Cells.read(path).merged(measured).write(path)


@pytest.mark.parametrize(
    ("run", "file", "kind", "old"),
    [
        *(("measured", "arrays.npz", "garbage", False), ("measured", "arrays.npz", "flip", False)),
        *(("measured", "arrays.npz", "objects", True), ("measured", "arrays.npz", "others", True)),
        *(("measured", "status.json", "list", False),),
        *(("autoencoder", "metrics.jsonl", "binary", True), ("autoencoder", "metrics.jsonl", "pipe", False)),
    ],
)
def test_a_report_names_what_it_cannot_read_and_goes_on(*, run, file, kind, old, made, tmp_path, monkeypatch, capsys):
    root, results = copied(made, tmp_path), tmp_path / "results"
    if old:
        before_checksums(root)
    cells_of(made, results)
    path = root / made.keys[run] / file
    {**ANY, **BY_KIND[path.suffix]}[kind](path)
    monkeypatch.setenv("VAEBENCH_HOME", str(root))
    monkeypatch.setattr(drawing, "png", lambda figure, **how: b"drawn")
    monkeypatch.setattr(drawing, "svg", lambda figure: b"drawn")
    assert cli.main(["report", "paper=batchtopk", f"results={results}"]) == 0
    error = capsys.readouterr().err
    assert error.count("\n") == error.count("left out: ") == 1
    assert str(path) in error or "pictures of arrays that are not what they should be" in error
    assert "8.3" in (results / "batchtopk" / "table.md").read_text()
