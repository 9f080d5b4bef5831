"""What language models answer to a set of problems, asked now or recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.contracts import Work
from vaebench.data.files import check_fields
from vaebench.data.lines import paths
from vaebench.disk import sha256_of
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import LEAF, Setup, asked, check_all
from vaebench.runs.records import checksum
from vaebench.runs.store import Run

if TYPE_CHECKING:
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.data.answers import Answers
    from vaebench.data.problems import Problems

VERB = "answers"
ROLE = "answers"
STOPS = True
REQUEST = {"answers": LEAF, "problems": {"name": str}, "parents": dict}
ON_PROBLEMS = {
    **{"problems": str, "problems_digest": str, "train_items": int, "test_items": int},
    **{"note": str, "stand_in": bool, "source": str},
}
RESULT = {
    **{**ON_PROBLEMS, "answers": int, "problems_answered": int},
    **{"sources": [str], "left_out": [str], "notes": [str]},
}


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The answers to the dataset's problems; ``parents['language_model']`` gives them if it is trained here."""
    leaf = _fingerprinted({k: v for k, v in cfg.dataset["answers"].items() if k != "language_model"})
    if leaf.get("model", "") is None and not parents and not leaf.get("distribution"):
        raise UserError("dataset.answers.model=null: name a model, a folder or a name on the Hugging Face hub")
    parts = {"answers": leaf, "problems": problems_leaf(cfg), "model_digest": folder_digest(leaf.get("model"))}
    return asked(VERB, parents, **parts)


def problems_leaf(cfg: TrainConfig) -> dict[str, Any]:
    """The dataset's problems as plain data, without who marks their answers."""
    leaf = {name: value for name, value in cfg.dataset["problems"].items() if name != "scorers"}
    check_fields(leaf)
    return leaf


def folder_digest(model: str | None) -> str | None:
    """Of a model in a local folder: 16 hex digits over its files, so that a changed model is another run."""
    folder = Path(model).expanduser() if model else None
    if folder is None or not folder.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)} {checksum(path)}\n".encode())
    return found.hexdigest()[:16]


def _fingerprinted(leaf: dict[str, Any]) -> dict[str, Any]:
    """A file of the user's own is known by what it holds, not by where it lies."""
    if not leaf.get("path"):
        return leaf
    named = paths(leaf["path"], "dataset.answers.path")
    missing = [f"dataset.answers.path={path}: there is no such file" for path in named if not path.is_file()]
    if missing:
        raise UserError(*missing)
    found = [path.absolute() for path in named]
    sha256 = leaf["sha256"] or [sha256_of(path) for path in found]
    if isinstance(leaf["path"], str):
        return {**leaf, "path": str(found[0]), "sha256": sha256 if leaf["sha256"] else sha256[0]}
    return {**leaf, "path": [str(path) for path in found], "sha256": sha256}


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the source of the answers."""
    del models
    build.source(request, remote_code=remote_code)


def title(request: Request) -> str:
    """``MODEL on PROBLEMS``."""
    leaf = request["answers"]
    own = "the language model trained here" if request.data.get("parents") else called(leaf)
    who = leaf.get("model") or leaf.get("distribution") or leaf.get("name") or own
    how = f", {leaf['decoding']}" if "decoding" in leaf else ""
    return f"{who} on {request['problems']['name']}{how}"


def seconds(request: Request) -> float:
    """A rough guess; how many problems there are is not known before they are read."""
    del request
    return 30.0


def work(run: Run, setup: Setup) -> None:
    """Collect or generate the answers."""
    from vaebench.data.answers import read_answers, to_parquet

    request = run.request()
    problems = build.problems(request)
    source = build.source(request, remote_code=setup.remote_code)
    parents = run.parents()
    if "language_model" in parents:
        parents["language_model"].check_folder("pretrained")
    source.open(problems, Work({role: parent.folder for role, parent in parents.items()}, setup.device))
    name, count = "answers-{:05d}.parquet", len(problems.test[: request["answers"].get("limit")])
    shards = setup.write_shards(run, name, count, source.shard, lambda rows: to_parquet(source.answer(rows)))
    found = read_answers(shards, run.folder)
    finish(
        run,
        setup,
        problems,
        answers=len(found),
        problems_answered=len(set(found.problem.tolist())),
        sources=sorted(set(found.source)),
        left_out=list(source.left_out),
        notes=list(source.notes),
    )


def finish(run: Run, setup: Setup, problems: Problems, **facts: Any) -> None:
    """Finish the run, with what is known of the problems in its result."""
    about = {
        "problems": problems.name,
        "problems_digest": problems.digest,
        "train_items": len(problems.train),
        "test_items": len(problems.test),
        "note": problems.note,
        "stand_in": problems.stand_in,
        "source": problems.source,
    }
    setup.finish(run, about | facts)


def opened(run: Run) -> Answers:
    """The answers of a finished run. Raises `UserError` if a shard is missing or damaged."""
    from vaebench.data.answers import read_answers

    facts = run.result()
    found = read_answers(run.all_intact("answers-*.parquet"), run.folder)
    check_all(run, len(found), facts["answers"], "answers")
    if len(found) and not 0 <= found.problem.min() <= found.problem.max() < facts["test_items"]:
        raise UserError(f"{run.folder}: answers problems that are not there; remove the folder and run again")
    return found
