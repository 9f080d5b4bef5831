"""Runs that are no training: answers, their grades, embedded texts, latents and references. Each is made of shards.

A shard is written whole or not at all and depends on the request alone, so a killed stage goes on behind its last shard
to the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaebench.contracts import Embedder, FittedEmbedder, GivesLatents, Normalised, ReferenceInputs, Work
from vaebench.data import embeddings
from vaebench.data import latents as latent_shards
from vaebench.data.answers import Grades, grades_to_parquet, read_answers, to_parquet
from vaebench.data.problems import Problems
from vaebench.engine import runtime
from vaebench.errors import Interrupted, UserError
from vaebench.runs import build, records
from vaebench.runs.load import dataset_of, load_model, parents, with_grid
from vaebench.runs.staged import ABOUT, answers_of, latents_of
from vaebench.runs.store import Run, Store

if TYPE_CHECKING:
    from vaebench.config.request import Request
    from vaebench.data.images import ImageData

_LEDGER = "shards.json"
_IMAGES_PER_SHARD = 4096
_ENCODED_AT_ONCE = 256

Track = Callable[[int, int], None]
Stop = Callable[[], bool]


def answers(
    run: Run, store: Store, *, device: torch.device, track: Track, stop: Stop, remote_code: bool = False
) -> None:
    """Collect or generate the answers to the problems of the request. ``remote_code``: as of `build.source`."""
    request = run.request()
    problems = build.problems(request)
    source = build.source(request, remote_code=remote_code)
    folders = parents(run, store)
    if "language_model" in folders:
        Run(folders["language_model"]).check_folder("pretrained")
    source.open(problems, Work(folders, device))
    count = len(problems.test)
    shards = _shards(
        run,
        [range(start, min(start + source.shard, count)) for start in range(0, count, source.shard)],
        "answers-{:05d}.parquet",
        lambda rows: to_parquet(source.answer(rows)),
        track=track,
        stop=stop,
    )
    found = read_answers(shards, run.folder)
    _finish(
        run,
        device,
        problems,
        answers=len(found),
        problems_answered=len(set(found.problem.tolist())),
        sources=sorted(set(found.source)),
        left_out=list(source.left_out),
        notes=list(source.notes),
    )


def embed(run: Run, store: Store, *, device: torch.device, track: Track, stop: Stop) -> None:
    """Embed the training pairs or, with the parents ``pairs`` and ``answers``, the test questions and the answers.

    An embedder that has to be fitted is fitted to the training pairs and stored beside them.
    """
    request = run.request()
    problems = build.problems(request)
    embedder = build.embedder(request)
    folders = parents(run, store)
    embedder.open(Work(folders, device))
    if "answers" in folders:
        texts = {
            "questions": [problem.question for problem in problems.test],
            "solutions": list(answers_of(folders["answers"]).text),
        }
        if isinstance(embedder, FittedEmbedder):
            Run(folders["pairs"]).all_intact("*")
            embedder.load(folders["pairs"])
    else:
        texts = {
            "questions": [pair.question for pair in problems.train],
            "solutions": [pair.solution for pair in problems.train],
        }
        if isinstance(embedder, FittedEmbedder):
            embedder.fit([text for part in texts.values() for text in part])
            embedder.save(run.folder)
    done, truncated = 0, {}
    total = sum(map(len, texts.values()))
    for stem, part in texts.items():
        shards = _shards(
            run,
            [range(start, min(start + embedder.shard, len(part))) for start in range(0, len(part), embedder.shard)],
            f"{stem}-{{:05d}}.safetensors",
            lambda rows, part=part, kind=stem[:-1]: _embedded(embedder, [part[row] for row in rows], kind),  # type: ignore[misc]
            track=lambda finished, _, before=done: track(before + finished, total),  # type: ignore[misc]
            stop=stop,
        )
        truncated[stem] = embeddings.truncated(shards, run.folder)
        done += len(part)
    _finish(run, device, problems, texts=total, dim=embedder.dim, truncated=truncated)


def _embedded(embedder: Embedder, texts: Sequence[str], kind: str) -> bytes:
    before = embedder.truncated
    vectors = embedder.embed(texts, kind)
    return embeddings.to_bytes(vectors, embedder.truncated - before)


def latents(run: Run, store: Store, *, device: torch.device, track: Track, stop: Stop) -> None:
    """Encode the training images of a finished autoencoder, once for all diffusion models on it."""
    spec = run.request()["latents"]
    trained = Run(parents(run, store)["autoencoder"])
    model = with_grid(load_model(trained, device), f"run {trained.key}")
    data = dataset_of(trained).to(device)
    count, dtype = len(data), latent_shards.DTYPES[spec["dtype"]]

    def encoded(rows: range) -> bytes:
        means, logvars, labels = [], [], []
        for some in torch.arange(rows.start, rows.stop, device=device).split(_ENCODED_AT_ONCE):
            batch = data.batch(some)
            views = (batch.x, batch.x.flip(-1)) if spec["flip"] else (batch.x,)
            mean, logvar = zip(*(model.latent_moments(view) for view in views), strict=True)
            means.append(torch.stack(mean, 1).to("cpu", dtype))
            logvars += [] if logvar[0] is None else [torch.stack(logvar, 1).to("cpu", dtype)]
            labels.append(batch.y)
        return latent_shards.to_bytes(torch.cat(means), torch.cat(logvars) if logvars else None, torch.cat(labels))

    with torch.no_grad():
        _shards(
            run,
            [range(start, min(start + _IMAGES_PER_SHARD, count)) for start in range(0, count, _IMAGES_PER_SHARD)],
            "latents-{:05d}.safetensors",
            encoded,
            track=track,
            stop=stop,
        )
    _finish_latents(run, device, model.latent_shape, count, _about(data))


def _about(data: ImageData) -> dict[str, Any]:
    return {name: getattr(data, name) for name in ABOUT}


def _finish_latents(
    run: Run, device: torch.device, shape: Sequence[int], count: int, about: Mapping[str, Any], **facts: Any
) -> None:
    run.write_json("result.json", {"shape": list(shape), "images": count, "of": dict(about), **facts})
    run.write_json("provenance.json", runtime.provenance(device))


def reference(run: Run, store: Store, *, device: torch.device, track: Track, stop: Stop) -> None:
    """Draw samples of the distribution that latents will be matched with, in the raw units of their tokenizer."""
    request = run.request()
    folders = parents(run, store)
    tokenizer, trained = _normalised(folders["autoencoder"], device)
    runtime.seed_all(request["seed"])
    items = build.reference(request).draw(_reference_inputs(request, folders, tokenizer, device))
    mean, std = float(tokenizer.latent_mean), float(tokenizer.latent_std)
    shape, count = tuple(items.z.shape[1:]), len(items.z)
    if shape != tuple(tokenizer.latent_shape):
        raise UserError(
            f"reference: its samples are {list(shape)} and the tokenizer's latents {list(tokenizer.latent_shape)}"
        )
    if request["labelled"] and items.labels is None:
        raise UserError(
            f"reference {request['name']}: has no labels, and matching within classes needs them; set "
            "reference.labelled=false (model.conditioning is none then)"
        )
    labels = torch.zeros(count, dtype=torch.int64) if items.labels is None else items.labels.cpu()

    def drawn(rows: range) -> bytes:
        some = slice(rows.start, rows.stop)
        return latent_shards.to_bytes((items.z[some].cpu() * std + mean)[:, None], None, labels[some].contiguous())

    _shards(
        run,
        [range(start, min(start + _IMAGES_PER_SHARD, count)) for start in range(0, count, _IMAGES_PER_SHARD)],
        "latents-{:05d}.safetensors",
        drawn,
        track=track,
        stop=stop,
    )
    about = _about(dataset_of(trained)) | {"name": f"reference {request['name']}"}
    _finish_latents(run, device, shape, count, about, labelled=bool(request["labelled"]))


def _normalised(folder: Path, device: torch.device) -> tuple[Any, Run]:
    """The trained tokenizer in a folder, which has a normalisation of its own, and its run."""
    trained = Run(folder)
    model = load_model(trained, device)
    if not isinstance(model, Normalised) or not isinstance(model, GivesLatents):
        raise UserError(
            f"run {trained.key} is a {type(model).__name__}, which has no normalisation of its latents; "
            "a reference is made for those of feature_ae (experiment=dmvae/tokenizer)"
        )
    return model, trained


def _reference_inputs(
    request: Request, folders: Mapping[str, Path], tokenizer: Any, device: torch.device
) -> ReferenceInputs:
    """What the reference of a request may be made of."""
    other = tokenizer
    if "features_autoencoder" in folders:
        other, _ = _normalised(folders["features_autoencoder"], device)
    embedder = build.embedder(request) if "embedder" in request.data else None

    def embed(texts: Sequence[str]) -> Tensor:
        assert embedder is not None
        embedder.open(Work({}, device))
        if isinstance(embedder, FittedEmbedder):
            embedder.fit(texts)
        return embedder.embed(texts, "solution")

    return ReferenceInputs(
        latent_shape=tuple(tokenizer.latent_shape),
        latent_mean=float(tokenizer.latent_mean),
        latent_std=float(tokenizer.latent_std),
        dataset=request["dataset"],
        seed=request["seed"],
        features=latents_of(folders["features"]) if "features" in folders else None,
        features_mean=float(other.latent_mean),
        features_std=float(other.latent_std),
        flow=load_model(Run(folders["flow"]), device) if "flow" in folders else None,
        embed=embed if embedder is not None else None,
    )


def grade(run: Run, store: Store, *, device: torch.device, track: Track) -> None:
    """Say of each answer what it comes to and whether it is right, by every scorer of the request."""
    from vaebench.metrics.answers import check
    from vaebench.metrics.answers import grade as graded

    request = run.request()
    problems = build.problems(request)
    scorers = request["scorers"]
    check(scorers)
    found = answers_of(parents(run, store)["answers"])
    golds = [problems.test[problem].gold for problem in found.problem]
    final, right, timeouts = {}, {}, {}
    total = len(scorers) * len(found)
    for before, name in zip(range(0, total, len(found)), scorers, strict=True):
        final[name], right[name], timeouts[name] = graded(
            found.text,
            golds,
            name,
            seconds=request["seconds"],
            track=lambda done, _, before=before: track(before + done, total),  # type: ignore[misc]
        )
    grades = Grades(tuple(scorers), tuple(scorers.values()), final, right, timeouts)
    run.write("grades.parquet", grades_to_parquet(grades))
    _finish(
        run,
        device,
        problems,
        answers=len(found),
        right={name: round(float(marks.mean()), 6) for name, marks in right.items()},
        no_final_answer={name: sum(not text for text in texts) for name, texts in final.items()},
        timeouts=timeouts,
    )


def _shards(
    run: Run,
    pieces: Sequence[range],
    name: str,
    make: Callable[[range], bytes],
    *,
    track: Track,
    stop: Stop,
) -> list[Path]:
    """Write the shards that are not there yet, or not as they were written; returns all of them in order.

    ``shards.json`` holds the sha256 of each. Before 0.6 there was none, and what is there is taken.

    Raises `Interrupted` between two of them when ``stop()`` asks for it.
    """
    total = pieces[-1].stop if pieces else 0
    paths = [run.path(name.format(number)) for number in range(len(pieces))]
    sums = _written(run)
    for path, rows in zip(paths, pieces, strict=True):
        if path.is_file() and (sums is None or sums.get(path.name) == records.checksum(path)):
            continue
        content = make(rows)
        run.write(path.name, content)
        sums = {**(sums or _found(run)), path.name: hashlib.sha256(content).hexdigest()}
        run.write_json(_LEDGER, sums)
        track(rows.stop, total)
        if stop() and rows.stop < total:
            raise Interrupted(f"stopped after {rows.stop} of {total}; the same command goes on from there")
    return paths


def _written(run: Run) -> dict[str, str] | None:
    """The sha256 of the shards by name; None if nothing says. Raises `UserError` if that file is damaged."""
    path = run.path(_LEDGER)
    try:
        return records.ledger(path) if path.exists() else None
    except UserError as error:
        raise UserError(f"{error}; remove it to take the shards as they are, or the folder to start over") from error


def _found(run: Run) -> dict[str, str]:
    return {path.name: records.checksum(path) for path in run.folder.glob("*-[0-9]*.*") if path.is_file()}


def _finish(run: Run, device: torch.device, problems: Problems, **facts: Any) -> None:
    about = {
        "problems": problems.name,
        "problems_digest": problems.digest,
        "train_items": len(problems.train),
        "test_items": len(problems.test),
        "note": problems.note,
        "stand_in": problems.stand_in,
        "source": problems.source,
    }
    run.write_json("result.json", about | facts)
    run.write_json("provenance.json", runtime.provenance(device))
