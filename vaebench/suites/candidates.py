"""What there is to choose from, k answers to each of q questions as a table, and what models think of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.contracts import AnswerInputs
from vaebench.data.answers import Answers, Grades
from vaebench.errors import UserError
from vaebench.metrics.selection import UNPARSABLE
from vaebench.nn.latents import gaussian_kl
from vaebench.nn.networks.vectors import ACTIVE

_CHUNK = 4096  # answers at a time


@dataclass(frozen=True)
class Candidates:
    """q questions with k candidates each; the other arrays are per candidate, ``[q k]``, in the order of offering.

    ``rows``: where a candidate stands among the answers. ``problem`` ``[q]``: which problem a question is, ascending.
    ``length``: characters. ``source``: index into ``sources``. ``logprob``: mean per token in nats, None unless it is
    recorded for every candidate. ``recorded``: how many candidates a question has in the answers.
    """

    rows: np.ndarray
    problem: np.ndarray
    length: np.ndarray
    source: np.ndarray
    sources: tuple[str, ...]
    logprob: np.ndarray | None
    recorded: int

    @property
    def k(self) -> int:
        """How many candidates a question has."""
        return int(self.rows.shape[1])


def offer(answers: Answers, *, k: int | None, shuffle: bool, seed: int) -> Candidates:
    """The candidates of every problem that has answers: ``k`` of them, drawn at random; None: all.

    They are offered in random order if ``shuffle``, else in the order of ``answers.candidate``; ``seed``: of the draw
    and of the order. Raises `UserError` if there are no answers, or not as many for every problem, or fewer than ``k``.
    """
    if not len(answers):
        raise UserError("suite selection: there are no answers to select from")
    problem, counts = np.unique(answers.problem, return_counts=True)
    recorded = int(np.bincount(counts).argmax())
    odd = counts != recorded
    if odd.any():
        raise UserError(
            f"suite selection: {odd.sum()} of {len(problem)} problems have another number of answers than the usual "
            f"{recorded} (problem {problem[odd][0]} has {counts[odd][0]}); all have to have the same number"
        )
    if k is not None and k > recorded:
        raise UserError(f"suite.k={k}: only {recorded} answers to each problem are recorded; use suite.k=null for all")
    order = np.lexsort((answers.candidate, answers.problem)).reshape(len(problem), recorded)
    drawn = np.random.default_rng(seed).random(order.shape).argsort(1)[:, :k]
    rows = np.take_along_axis(order, drawn if shuffle else np.sort(drawn, 1), 1)
    sources, source = np.unique(np.array(answers.source, dtype=str), return_inverse=True)
    logprob = answers.logprob[rows]
    return Candidates(
        rows=rows,
        problem=problem,
        length=np.array([len(text) for text in answers.text])[rows],
        source=source[rows],
        sources=tuple(map(str, sources)),
        logprob=logprob if np.isfinite(logprob).all() else None,
        recorded=recorded,
    )


def graded(grades: Grades, scorer: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By one scorer, of ``rows`` ``[q k]``: who is right (bool); the final answer as a number, `UNPARSABLE` if none."""
    final = np.array(grades.final[scorer], dtype=str)
    _, numbers = np.unique(final, return_inverse=True)
    return grades.right[scorer][rows], np.where(final == "", UNPARSABLE, numbers)[rows]


@dataclass(frozen=True)
class Scored:
    """What s models say of the candidates.

    ``scores``: by name, float64 ``[s q k]``, lower is picked. ``posterior``: the KL of each candidate's in nats,
    ``[s q k]``, and how many latent dimensions have a mean KL above ``nn.vectors.ACTIVE``, ``[s]``; None if the models
    have no posterior.
    """

    scores: dict[str, np.ndarray]
    posterior: tuple[np.ndarray, np.ndarray] | None


@torch.no_grad()
def score(inputs: AnswerInputs, offered: Candidates) -> Scored:
    """Let every model of ``inputs`` score every candidate.

    Raises `UserError` if the embeddings do not belong to the answers, have another width than a model's, or a score is
    not finite.
    """
    scores: dict[str, list[np.ndarray]] = {}
    kls, active, done = [], [], 0
    for model in inputs.models:
        parts: dict[str, list[Tensor]] = {}
        of_answers, of_dimensions = [], []
        for pair in _pairs(inputs, offered.rows, inputs.device):
            for name, values in model.scores(*pair).items():
                parts.setdefault(name, []).append(values.float().cpu())
            posterior = model.posterior(*pair)
            if posterior is not None:
                kl = gaussian_kl(*posterior).cpu().double()
                of_answers.append(kl.sum(1))
                of_dimensions.append(kl.sum(0))
            done += len(pair[0])
            inputs.track(done, offered.rows.size * len(inputs.models))
        for name, of_parts in parts.items():
            scores.setdefault(name, []).append(_table(name, torch.cat(of_parts), offered))
        if of_answers:
            kls.append(_table("kl", torch.cat(of_answers), offered))
            active.append(int((torch.stack(of_dimensions).sum(0) / offered.rows.size > ACTIVE).sum()))
    tables = {name: np.stack(found) for name, found in scores.items()}
    return Scored(tables, (np.stack(kls), np.array(active)) if kls else None)


@torch.no_grad()
def posterior_means(inputs: AnswerInputs, rows: np.ndarray) -> np.ndarray:
    """The first model's posterior means, float32 ``[n l]``, of the answers in ``rows`` ``[n]``."""
    pairs = _pairs(inputs, rows, inputs.device)
    means: np.ndarray = torch.cat([inputs.models[0].posterior(*pair)[0].float().cpu() for pair in pairs]).numpy()
    return means


def cosines(inputs: AnswerInputs, offered: Candidates) -> np.ndarray:
    """Cosine of question and answer as they were embedded, float32 ``[q k]`` in [-1, 1]; 0 for a vector of zeros."""
    pairs = _pairs(inputs, offered.rows, torch.device("cpu"))
    found: np.ndarray = torch.cat([F.cosine_similarity(*pair, dim=1) for pair in pairs]).numpy()
    return found.reshape(offered.rows.shape)


def _pairs(inputs: AnswerInputs, rows: np.ndarray, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The embeddings of the answers in ``rows`` and of their questions, some thousand at a time."""
    solutions, questions = inputs.solutions, inputs.questions
    assert solutions is not None, "models come with embeddings"
    assert questions is not None, "models come with embeddings"
    asked = int(inputs.answers.problem.max()) + 1
    if len(solutions) != len(inputs.answers) or len(questions) < asked:
        raise UserError(
            f"suite selection: {len(solutions)} answers and {len(questions)} questions are embedded, and there are "
            f"{len(inputs.answers)} answers to problems up to number {asked}; remove the embeddings and run again"
        )
    problems = torch.from_numpy(inputs.answers.problem.astype(np.int64))
    for part in torch.from_numpy(rows.reshape(-1)).split(_CHUNK):
        yield solutions[part].to(device), questions[problems[part]].to(device)


def _table(name: str, values: Tensor, offered: Candidates) -> np.ndarray:
    bad = int((~values.isfinite()).sum())
    if bad:
        raise UserError(
            f"suite selection: the score {name} of {bad} of {len(values)} answers is not finite: the model is not "
            "usable; train it again (model.logvar_clamp bounds its log-variances)"
        )
    return values.double().numpy().reshape(offered.rows.shape)
