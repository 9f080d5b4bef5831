"""Texts as vectors: the training pairs of a set of problems, or its test questions and the answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vaebench.config.request import Request
from vaebench.contracts import FittedEmbedder, Work
from vaebench.runs import build
from vaebench.runs.kinds import Setup, answers, asked, check_all
from vaebench.runs.store import Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import Embedder
    from vaebench.data.problems import Problems

VERB = "embed"
ROLE = "embeddings"
STOPS = True
REQUEST = {"embedder": {"_target_": str, "dim": int}, "problems": {"name": str}}
RESULT = {**answers.ON_PROBLEMS, "texts": int, "dim": int, "truncated": {"questions": int, "solutions": int}}


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The embedded training pairs or, with the parents ``pairs`` and ``answers``, the embedded answers."""
    digest = answers.folder_digest(cfg.embedder.get("model"))
    parts = {"embedder": cfg.embedder, "problems": answers.problems_leaf(cfg), "model_digest": digest}
    return asked(VERB, parents or None, **parts)


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the embedder."""
    del models, remote_code
    build.embedder(request)


def title(request: Request) -> str:
    """``training pairs of PROBLEMS by EMBEDDER``."""
    what = "answers" if "answers" in request.data.get("parents", {}) else "training pairs"
    return f"{what} of {request['problems']['name']} by {build.embedder_name(request['embedder'])}"


def seconds(request: Request) -> float:
    """A rough guess: a network takes longer than counting words."""
    return 400.0 if "package" in request["embedder"] else 60.0


def work(run: Run, setup: Setup) -> None:
    """Embed the texts. An embedder that has to be fitted is fitted to the training pairs and stored beside them."""
    from vaebench.data import embeddings

    request = run.request()
    problems = build.problems(request)
    embedder = build.embedder(request)
    embedder.open(Work({role: parent.folder for role, parent in run.parents().items()}, setup.device))
    texts = _fitted_texts(run, problems, embedder)
    done, truncated = 0, {}
    total = sum(map(len, texts.values()))
    for stem, part in texts.items():
        shards = setup.within(done, total).write_shards(
            run,
            f"{stem}-{{:05d}}.safetensors",
            len(part),
            embedder.shard,
            partial(_embedded, embedder, part, stem.removesuffix("s")),
        )
        truncated[stem] = embeddings.truncated(shards, run.folder)
        done += len(part)
    answers.finish(run, setup, problems, texts=total, dim=embedder.dim, truncated=truncated)


def _fitted_texts(run: Run, problems: Problems, embedder: Embedder) -> dict[str, list[str]]:
    """The texts to embed, questions and solutions, with the embedder fitted to the training pairs."""
    parents = run.parents()
    if "answers" in parents:
        if isinstance(embedder, FittedEmbedder):
            parents["pairs"].all_intact("*")
            embedder.load(parents["pairs"].folder)
        questions = [problem.question for problem in problems.test]
        return {"questions": questions, "solutions": list(answers.opened(parents["answers"]).text)}
    questions, solutions = ([getattr(pair, name) for pair in problems.train] for name in ("question", "solution"))
    if isinstance(embedder, FittedEmbedder):
        embedder.fit([*questions, *solutions])
        embedder.save(run.folder)
    return {"questions": questions, "solutions": solutions}


def _embedded(embedder: Embedder, texts: Sequence[str], kind: str, rows: range) -> bytes:
    from vaebench.data.embeddings import to_bytes

    before = embedder.truncated
    vectors = embedder.embed([texts[row] for row in rows], kind)
    return to_bytes(vectors, embedder.truncated - before)


def opened(run: Run) -> tuple[Tensor, Tensor]:
    """Questions ``[q e]`` and solutions ``[n e]`` of a finished run. Raises `UserError` if a shard is missing."""
    from vaebench.data.embeddings import read

    facts, of_answers = run.result(), "answers" in run.request().data.get("parents", {})
    questions: Any = facts["test_items"] if of_answers else facts["train_items"]
    found = []
    for stem, wanted in (("questions", questions), ("solutions", facts["texts"] - questions)):
        vectors = read(run.all_intact(f"{stem}-*.safetensors"), run.folder)
        check_all(run, len(vectors), wanted, stem)
        found.append(vectors)
    return found[0], found[1]
