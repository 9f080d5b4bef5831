"""Which of k answers to pick: a model's scores beside rules that need none, at equal k and paired over questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Interval

from vaebench.config.signatures import Count, NonNegative, Seed
from vaebench.contracts import AnswerInputs, Measurement, ScoresCandidates, SuiteResult
from vaebench.metrics import selection
from vaebench.metrics.selection import Rule, accuracy
from vaebench.suites.candidates import Candidates, Scored, cosines, graded, offer, posterior_means, score

NOISE = 0.01  # nats of spread of the entropy within a question below which picking by it is noise
_SAME = 1e-6  # cosines and log-probabilities closer than this are those of equal texts
_BINS = 40
_SHOWN = 2000  # posterior means in the picture


@dataclass(frozen=True)
class _Found:
    """One number: ``values`` per seed and question ``[s q]``, or per seed alone ``[s]``; ``scorer`` is name@version."""

    name: str
    values: np.ndarray
    unit: str
    scorer: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Accuracy of every way to pick one of the k answers to a question, with intervals over questions and seeds.

    For each scorer and selector (``random``, ``single``, ``majority``, ``shortest``, ``longest``, ``first``,
    ``logprob``, ``cosine``, ``oracle``, ``best_source``, ``worst_source``, ``min_<score>``, ``max_<score>``):
    ``<selector>.<scorer>`` in percent, and in points ``.vs_random``, ``.vs_majority`` and, for ``min_<score>``,
    ``.vs_max``, the sign control. ``single`` is one sample's expected accuracy, the same number as ``random``.
    Candidates that a rule cannot tell apart share the pick. ``logprob`` is there if every answer has one, the sources
    (chosen in hindsight) if there are several, what models and embeddings decide if ``needs_model``. With one candidate
    there is nothing to pick: only ``random`` and ``single`` are measured.

    By the first scorer, for every score: ``correlation.<score>`` (Somers' D with being right within a question; below 0
    lower is right), ``pooled_correlation.<score>`` (Spearman, all answers together), ``length_correlation.<score>``
    (Spearman with characters, within a question). Of the entropy: ``kl``, ``active_dims`` (mean KL above 0.05 nats),
    ``entropy_sd`` (within a question), ``ties`` (questions whose lowest entropy is shared), ``top_position``,
    ``top_source`` (the largest share of picks), ``collapsed`` (1: no active dimension, or ``entropy_sd`` below 0.01).

    Values are means over seeds, an interval is a 95 % bootstrap over questions and seeds. ``k``: candidates per
    question, null for all. ``shuffle``: whether they are offered in random order. ``order_seed``: of the draw, the
    order and the subsets. ``tie``: see `metrics.selection.lowest`. ``bootstrap``, ``bootstrap_seed``: resamplings.
    ``permutations``: subsets per size in the curves ``accuracy_at_k.<selector>``.
    """

    requires = (ScoresCandidates,)
    needs_classifier = False

    k: Count | None
    shuffle: bool
    order_seed: Seed
    tie: NonNegative
    bootstrap: Annotated[int, Interval(ge=100, le=1_000_000)]
    bootstrap_seed: Seed
    permutations: Count
    needs_model: bool

    def run(self, inputs: AnswerInputs) -> SuiteResult:
        """Measure all selectors on ``inputs``.

        Raises `UserError` if the answers are not k to every problem, or the embeddings do not fit them or the models.
        """
        offered = offer(inputs.answers, k=self.k, shuffle=self.shuffle, seed=self.order_seed)
        judged = self.needs_model and len(inputs.models) > 0 and offered.k > 1
        scored = score(inputs, offered) if judged else None
        shared = _rules(offered, scored, cosines(inputs, offered) if judged else None, self.tie)
        seeds = len(inputs.models) if judged else 1
        grades = inputs.grades
        found: list[_Found] = []
        arrays: dict[str, np.ndarray] = {}
        for scorer, version in zip(grades.scorers, grades.versions, strict=True):
            right, final = graded(grades, scorer, offered.rows)
            rules = shared | (_judged_rules(offered, right, final) if offered.k > 1 else {})
            found += _accuracies(rules, right, seeds, scorer, f"{scorer}@{version}")
            if scorer == grades.scorers[0]:
                arrays |= self._curves(rules, right, seeds)
                if scored is not None:
                    found += _correlations(scored, offered, right, self.tie, f"{scorer}@{version}")
        if scored is not None:
            right, _ = graded(grades, grades.scorers[0], offered.rows)
            arrays |= _histograms(scored, right)
            if "entropy" in scored.scores and scored.posterior is not None:
                picks = selection.lowest(scored.scores["entropy"], self.tie)
                found += _health(scored.scores["entropy"], *scored.posterior, offered, picks, self.tie)
                arrays |= _picks(offered, picks) | self._plane(inputs, offered, right)
        few = len(offered.sources) <= 4
        protocol = {
            "k": offered.k,
            "recorded": offered.recorded,
            "answers": ", ".join(offered.sources) if few else f"{len(offered.sources)} sources",
            "tie": self.tie,
            "shuffle": self.shuffle,
            "order_seed": self.order_seed,
            "bootstrap": self.bootstrap,
            "seeds": len(inputs.models) if judged else 0,
        }
        return SuiteResult(tuple(self._measured(found, len(offered.problem), protocol)), arrays)

    def _measured(
        self, found: Sequence[_Found], questions: int, protocol: Mapping[str, object]
    ) -> Iterator[Measurement]:
        """The numbers with their intervals; what has equally many questions is resampled together."""
        intervals: dict[str, tuple[float, float]] = {}
        shapes = {one.values.shape for one in found if one.values.ndim == 2 and one.values.shape[1] > 1}
        for shape in sorted(shapes):
            alike = [one for one in found if one.values.shape == shape]
            values = np.stack([one.values for one in alike])
            _, lows, highs = selection.paired_bootstrap(values, self.bootstrap, self.bootstrap_seed)
            names = [one.name for one in alike]
            intervals |= {n: (float(a), float(b)) for n, a, b in zip(names, lows, highs, strict=True)}
        for one in found:
            of_seeds = one.values if one.values.ndim == 1 else one.values.sum(1) / max(1, one.values.shape[1])
            low, high = intervals.get(one.name, (None, None))
            yield Measurement(
                one.name,
                float(of_seeds.mean()),
                one.values.shape[1] if one.values.ndim == 2 else questions,
                one.unit,
                {**protocol, **({"scorer": one.scorer} if one.scorer else {})},
                low,
                high,
                tuple(map(float, of_seeds)),
            )

    def _curves(self, rules: Mapping[str, Rule], right: np.ndarray, seeds: int) -> dict[str, np.ndarray]:
        """``k_values`` ``[m]``; by selector the accuracy in percent ``[m]`` and its interval (``.low``, ``.high``)."""
        sizes, by_rule = selection.against_k(right, rules, self.permutations, self.order_seed)
        values = np.stack([np.broadcast_to(v, (len(sizes), seeds, len(right))) for v in by_rule.values()])
        bounds = selection.paired_bootstrap(100 * values, self.bootstrap, self.bootstrap_seed)
        arrays = {"k_values": sizes}
        for suffix, table in zip(("", ".low", ".high"), bounds, strict=True):
            lines = dict(zip(by_rule, table.astype(np.float32), strict=True))
            arrays |= {f"accuracy_at_k.{name}{suffix}": line for name, line in lines.items()}
            arrays[f"accuracy_at_k.single{suffix}"] = lines["random"]
        return arrays

    def _plane(self, inputs: AnswerInputs, offered: Candidates, right: np.ndarray) -> dict[str, np.ndarray]:
        """Posterior means of some answers on their first two principal components ``[n 2]``, and who is right."""
        random = np.random.default_rng(self.order_seed)
        shown = np.sort(random.permutation(offered.rows.size)[:_SHOWN])
        means = posterior_means(inputs, offered.rows.reshape(-1)[shown]).astype(np.float64)
        means -= means.mean(0)
        _, directions = np.linalg.eigh(means.T @ means)
        axes = directions[:, ::-1][:, :2]
        axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])  # the largest entry is positive
        flat = np.zeros((len(means), 2), dtype=np.float32)
        flat[:, : axes.shape[1]] = means @ axes
        return {"z": flat, "z_right": right.reshape(-1)[shown]}


def _rules(offered: Candidates, scored: Scored | None, cosine: np.ndarray | None, tie: float) -> dict[str, Rule]:
    """The selectors that do not look at final answers. With one candidate there is only ``random``."""
    rules: dict[str, Rule] = {"random": lambda those: selection.uniform(those.shape)}
    if offered.k == 1:
        return rules
    rules |= {
        "shortest": partial(_by_score, offered.length, 0.5),
        "longest": partial(_by_score, -offered.length, 0.5),
        "first": lambda those: np.eye(1, those.shape[1]).repeat(len(those), 0),
    }
    if offered.logprob is not None:
        rules["logprob"] = partial(_by_score, -offered.logprob, _SAME)
    if cosine is not None:
        rules["cosine"] = partial(_by_score, -cosine, _SAME)
    for name, values in {} if scored is None else scored.scores.items():
        rules[f"min_{name}"] = partial(_by_score, values, tie)
        rules[f"max_{name}"] = partial(_by_score, -values, tie)
    return rules


def _judged_rules(offered: Candidates, right: np.ndarray, final: np.ndarray) -> dict[str, Rule]:
    """The selectors that look at final answers, or at who is right."""
    rules: dict[str, Rule] = {
        "majority": lambda those: selection.majority(np.take_along_axis(final, those, 1)),
        "oracle": partial(_by_score, 1 - right, 0.5),
    }
    if len(offered.sources) > 1:
        alone = [selection.share(offered.source == n) for n in range(len(offered.sources))]
        hindsight = [accuracy(mass, right).mean() for mass in alone]
        for name, wanted in {"best_source": np.argmax(hindsight), "worst_source": np.argmin(hindsight)}.items():
            rules[name] = partial(_by_score, (offered.source != wanted).astype(int), 0.5)
    return rules


def _by_score(values: np.ndarray, tie: float, those: np.ndarray) -> np.ndarray:
    """Mass on the lowest of ``values`` ``[... q k]`` among the candidates in columns ``those`` ``[q j]``."""
    columns = those.reshape((1,) * (values.ndim - 2) + those.shape)
    return selection.lowest(np.take_along_axis(values, columns, -1), tie)


def _accuracies(
    rules: Mapping[str, Rule], right: np.ndarray, seeds: int, scorer: str, version: str
) -> Iterator[_Found]:
    """Accuracy of each selector and its differences from random pick, majority vote and its opposite."""
    q, k = right.shape
    everything = np.broadcast_to(np.arange(k), (q, k))
    values = {name: 100 * accuracy(rule(everything), right) for name, rule in rules.items()}
    values = {name: np.broadcast_to(value, (seeds, q)) for name, value in values.items()}
    values = {"random": values["random"], "single": values["random"], **values}
    for name, value in values.items():
        yield _Found(f"{name}.{scorer}", value, "%", version)
        opposite = name.replace("min_", "max_", 1) if name.startswith("min_") else name
        others = {"vs_random": "random", "vs_majority": "majority", "vs_max": opposite}
        for suffix, other in others.items():
            if other != name and other in values and {name, other} != {"random", "single"}:
                yield _Found(f"{name}.{scorer}.{suffix}", value - values[other], "points", version)


def _correlations(scored: Scored, offered: Candidates, right: np.ndarray, tie: float, version: str) -> Iterator[_Found]:
    """What each score goes along with."""
    for name, values in scored.scores.items():
        yield _Found(f"correlation.{name}", selection.somers_d(values, right, tie), "", version)
        yield _Found(f"pooled_correlation.{name}", selection.pooled(values, right), "", version)
        yield _Found(f"length_correlation.{name}", selection.within_question(values, offered.length, tie), "", "")


def _health(
    entropy: np.ndarray, kl: np.ndarray, active: np.ndarray, offered: Candidates, picks: np.ndarray, tie: float
) -> Iterator[_Found]:
    """Whether the posterior says anything, and whom its lowest entropy picks (``picks`` ``[s q k]``)."""
    spread = entropy.std(-1)
    near = entropy - entropy.min(-1, keepdims=True)
    tied = ((near < tie) if tie else (near == 0)).sum(-1) > 1
    yield _Found("kl", kl.mean(-1), "nats", "")
    yield _Found("active_dims", active.astype(np.float64), "", "")
    yield _Found("entropy_sd", spread, "nats", "")
    yield _Found("ties", 100.0 * tied, "%", "")
    yield _Found("top_position", 100 * picks.mean(1).max(1), "%", "")
    yield _Found("top_source", 100 * _by_source(offered, picks).max(1), "%", "")
    yield _Found("collapsed", ((active == 0) | (spread.mean(1) < NOISE)).astype(np.float64), "", "")


def _by_source(offered: Candidates, picks: np.ndarray) -> np.ndarray:
    """Share of the picks ``[s q k]`` that fall on each source, ``[s sources]``."""
    shares = [(picks * (offered.source == n)).sum(-1).mean(-1) for n in range(len(offered.sources))]
    return np.stack(shares, -1)


def _picks(offered: Candidates, picks: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of the lowest entropy's picks by place in the list ``[k]`` and by source, means over seeds."""
    return {
        "picks_position": picks.mean((0, 1)).astype(np.float32),
        "picks_source": _by_source(offered, picks).mean(0).astype(np.float32),
        "sources": np.array(offered.sources),
    }


def _histograms(scored: Scored, right: np.ndarray) -> dict[str, np.ndarray]:
    """By score, how often the first model's values fall between ``_edges``, for right and for wrong answers."""
    arrays = {}
    for name, values in scored.scores.items():
        edges = np.histogram_bin_edges(values[0], _BINS)
        arrays[f"{name}_edges"] = edges.astype(np.float32)
        arrays[f"{name}_right"] = np.histogram(values[0][right], edges)[0].astype(np.float32)
        arrays[f"{name}_wrong"] = np.histogram(values[0][~right], edges)[0].astype(np.float32)
    return arrays
