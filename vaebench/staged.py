"""What finished stages hold: answers, grades, vectors and latents, compared with what the stages said of them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vaebench.data import embeddings
from vaebench.data import latents as latent_shards
from vaebench.data.answers import Answers, Grades, read_answers, read_grades
from vaebench.errors import UserError
from vaebench.runs.store import Run

ABOUT = ("name", "source", "digest", "note", "stand_in")  # of the images that latents were made of


def answers_of(folder: Path) -> Answers:
    """The answers of a finished stage. Raises `UserError` if a shard is missing or damaged."""
    run = Run(folder)
    facts = run.result()
    found = read_answers(run.all_intact("answers-*.parquet"), folder)
    if len(found) != facts["answers"]:
        raise UserError(_incomplete(folder, len(found), facts["answers"], "answers"))
    if len(found) and not 0 <= found.problem.min() <= found.problem.max() < facts["test_items"]:
        raise UserError(f"{folder}: answers problems that are not there; remove the folder and run again")
    return found


def grades_of(folder: Path, answers: int) -> Grades:
    """The grades of a finished stage, one for each of so many answers. Raises `UserError` as `answers_of` does."""
    run = Run(folder)
    found = read_grades(run.intact("grades.parquet"), folder)
    for right in found.right.values():
        if len(right) != answers:
            raise UserError(f"{run.path('grades.parquet')}: has {len(right)} of {answers} grades; {run.again()}")
    return found


def vectors_of(folder: Path) -> tuple[Tensor, Tensor]:
    """Questions ``[q e]`` and solutions ``[n e]`` of a finished stage. Raises `UserError` as `answers_of` does."""
    run = Run(folder)
    facts, of_answers = run.result(), "answers" in run.request().data.get("parents", {})
    questions = facts["test_items"] if of_answers else facts["train_items"]
    found = []
    for stem, wanted in (("questions", questions), ("solutions", facts["texts"] - questions)):
        vectors = embeddings.read(run.all_intact(f"{stem}-*.safetensors"), folder)
        if len(vectors) != wanted:
            raise UserError(_incomplete(folder, len(vectors), wanted, stem))
        found.append(vectors)
    return found[0], found[1]


def latents_of(folder: Path) -> latent_shards.LatentData:
    """The latents of a finished stage. Raises `UserError` as `answers_of` does."""
    run = Run(folder)
    facts = run.result()
    about = {name: facts["of"][name] for name in ABOUT}
    found = latent_shards.read(run.all_intact("latents-*.safetensors"), folder, about)
    if len(found) != facts["images"]:
        raise UserError(_incomplete(folder, len(found), facts["images"], "latents"))
    if list(found.shape) != facts["shape"]:
        raise UserError(f"{folder}: its latents are {list(found.shape)}, not {facts['shape']}; {run.again()}")
    return found


def _incomplete(folder: Path, found: int, wanted: int, what: str) -> str:
    return f"{folder}: holds {found} of {wanted} {what}, a shard is missing; {Run(folder).again()}"
