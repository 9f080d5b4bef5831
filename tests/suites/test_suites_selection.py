"""The selection protocol on answers whose scores, grades and order are known."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from vaebench.contracts import AnswerInputs, ScoresCandidates
from vaebench.data.answers import Answers, Grades, answers
from vaebench.data.problems import Problem, Problems
from vaebench.errors import UserError
from vaebench.models.rcvae import RCVAE
from vaebench.models.regressor import Regressor
from vaebench.suites.selection import Selection

LEAF = Path(__file__).resolve().parents[2] / "conf" / "suite" / "selection.yaml"
Q, K, E = 60, 4, 3
SOURCES = ("small", "large", "tuned", "other")
SELECTORS = ["random", "single", "majority", "shortest", "longest", "first", "oracle", "best_source", "worst_source"]


def suite(**options) -> Selection:
    """As its YAML describes it, with fewer resamplings."""
    leaf = OmegaConf.to_container(OmegaConf.load(LEAF))
    assert (leaf.pop("_target_"), leaf.pop("version")) == ("vaebench.suites.selection.Selection", 1)
    return Selection(**(leaf | {"bootstrap": 200, "permutations": 3} | options))


def options(model: str, embedding_dim: int) -> dict:
    """A model's options as its YAML has them."""
    leaf = OmegaConf.merge(
        OmegaConf.load(LEAF.parents[1] / "model" / f"{model}.yaml"), {"embedding_dim": embedding_dim}
    )
    plain = OmegaConf.to_container(leaf, resolve=True)
    return {key: value for key, value in plain.items() if key not in ("_target_", "version", "data")}


class Told(nn.Module):
    """Its score is the answer's first coordinate; its posterior has the entropy it claims, in one dimension."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def posterior(self, solution: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        logvar = 2 * self.factor * solution[:, :1] - math.log(2 * math.pi * math.e)
        return torch.ones_like(logvar), logvar

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]:
        return {"entropy": self.factor * solution[:, 0], "kl": question[:, 0] * 0 + 1}


def problems(count: int = Q + 5) -> Problems:
    test = tuple(Problem(str(n), f"question {n}", str(n)) for n in range(count))
    return Problems("toy", (), test, source="", digest="digest")


def make(
    seed: int = 0, *, q: int = Q, k: int = K, logprob: bool = False, share: float = 0.4, skip: int = 3
) -> tuple[Answers, Grades]:
    """k answers to every problem but the first ``skip``, in mixed order; later sources are right more often."""
    rng = np.random.default_rng(seed)
    rows, finals, right = [], [], []
    for at in rng.permutation(q * k):
        problem, candidate = skip + at // k, at % k
        is_right = rng.random() < share + 0.1 * candidate
        known = is_right or rng.random() < 0.8
        text = "a" * int(rng.integers(1, 6)) + "." * candidate
        rows.append(
            (int(problem), int(candidate), SOURCES[candidate % 4], text, -rng.random() if logprob else math.nan, -1, -1)
        )
        finals.append(("right" if is_right else f"wrong{rng.integers(3)}") if known else "")
        right.append(is_right)
    flags = np.array(right)
    grades = Grades(
        ("loose", "strict"),
        (2, 1),
        {"loose": tuple(finals), "strict": tuple(finals)},
        {"loose": flags, "strict": flags & (rng.random(len(flags)) < 0.7)},
        {"loose": 0, "strict": 0},
    )
    return answers(rows), grades


def inputs(found: tuple[Answers, Grades], models=(), first: np.ndarray | None = None, width: int = E) -> AnswerInputs:
    """``first``: the first coordinate of every answer's embedding, what `Told` scores by."""
    there, grades = found
    random = torch.Generator().manual_seed(0)
    solutions = torch.randn(len(there), width, generator=random)
    if first is not None:
        solutions[:, 0] = torch.from_numpy(first.astype(np.float32))
    questions = torch.randn(Q + 5, width, generator=random)
    device = torch.device("cpu")
    return AnswerInputs(problems(), there, grades, models, questions, solutions, device)


def measured(given: AnswerInputs, **options) -> dict:
    return {found.name: found for found in suite(**options).run(given).measurements}


def values(given: AnswerInputs, **options) -> dict[str, float]:
    return {name: found.value for name, found in measured(given, **options).items()}


def per_question(found: tuple[Answers, Grades], scorer: str = "loose") -> dict[int, list[tuple]]:
    """By problem, its (candidate, text, source, final, right, row) in the order of candidates."""
    there, grades = found
    groups: dict[int, list[tuple]] = {}
    for row in range(len(there)):
        entry = (there.candidate[row], there.text[row], there.source[row], grades.final[scorer][row])
        groups.setdefault(int(there.problem[row]), []).append((*entry, bool(grades.right[scorer][row]), row))
    return {problem: sorted(entries, key=lambda e: e[0]) for problem, entries in groups.items()}


def mean_over_questions(groups, value) -> float:
    return 100 * sum(map(value, groups.values())) / len(groups)


def fraction(chosen) -> float:
    chosen = list(chosen)
    return sum(entry[4] for entry in chosen) / len(chosen)


class TestWithoutModels:
    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("scorer", ["loose", "strict"])
    def test_every_selector_is_the_loop(self, scorer, shuffle):
        found = make()
        groups = per_question(found, scorer)

        def vote(entries):
            finals = [e[3] for e in entries if e[3]]
            most = max(map(finals.count, finals), default=0)
            return fraction([e for e in entries if e[3] and finals.count(e[3]) == most] or entries)

        by_source = [mean_over_questions(groups, lambda es, s=s: fraction(e for e in es if e[2] == s)) for s in SOURCES]
        slow = {
            "random": mean_over_questions(groups, fraction),
            "single": mean_over_questions(groups, fraction),
            "majority": mean_over_questions(groups, vote),
            "shortest": mean_over_questions(
                groups, lambda es: fraction(e for e in es if len(e[1]) == min(len(o[1]) for o in es))
            ),
            "longest": mean_over_questions(
                groups, lambda es: fraction(e for e in es if len(e[1]) == max(len(o[1]) for o in es))
            ),
            "oracle": mean_over_questions(groups, lambda es: any(e[4] for e in es)),
            "best_source": max(by_source),
            "worst_source": min(by_source),
        }
        if not shuffle:
            slow["first"] = mean_over_questions(groups, lambda es: es[0][4])
        mine = measured(inputs(found), shuffle=shuffle)
        for name, value in slow.items():
            assert mine[f"{name}.{scorer}"].value == pytest.approx(value), name
            for against in ("random", "majority"):
                key = f"{name}.{scorer}.vs_{against}"
                same = {name, against} in ({"random"}, {"random", "single"}, {"majority"})
                assert (key in mine) != same, key
                if not same:
                    assert mine[key].value == pytest.approx(value - slow[against])
                    assert mine[key].unit == "points"

    def test_what_is_measured_without_models(self):
        names = {name for name in values(inputs(make())) if name.count(".") == 1}
        assert names == {f"{name}.{scorer}" for name in SELECTORS for scorer in ("loose", "strict")}

    def test_models_are_left_alone_if_not_needed(self):
        found = make()
        with_models = values(inputs(found, [Told()]), needs_model=False)
        assert with_models == values(inputs(found))
        assert suite(needs_model=False).needs_model is False

    def test_first_depends_on_the_order_alone(self):
        given = inputs(make())
        listed, shuffled, again = (
            values(given, **options)["first.loose"]
            for options in ({"shuffle": False}, {"shuffle": True}, {"shuffle": True, "order_seed": 1})
        )
        assert len({listed, shuffled, again}) == 3
        assert values(given, shuffle=False)["majority.loose"] == pytest.approx(values(given)["majority.loose"])

    def test_logprob_only_if_every_answer_has_one(self):
        found = make(logprob=True)
        groups, logprobs = per_question(found), found[0].logprob
        slow = mean_over_questions(groups, lambda es: max(es, key=lambda e: logprobs[e[5]])[4])
        assert values(inputs(found))["logprob.loose"] == pytest.approx(slow)
        found[0].logprob[7] = math.nan
        assert "logprob.loose" not in values(inputs(found))

    def test_one_source_has_no_best(self):
        there, grades = make()
        alone = Answers(**{**vars(there), "source": ("one",) * len(there)})
        names = values(inputs((alone, grades)))
        assert "best_source.loose" not in names
        assert "oracle.loose" in names

    def test_interval_is_about_questions(self):
        found = measured(inputs(make()), bootstrap=1000)["random.loose"]
        assert found.low < found.value < found.high
        assert (found.count, found.unit, found.by_seed) == (Q, "%", (found.value,))
        values_ = [fraction(entries) for entries in per_question(make()).values()]
        half = 196 * float(np.std(values_)) / math.sqrt(Q)
        assert found.high - found.low == pytest.approx(2 * half, rel=0.15)

    def test_protocol_names_every_choice(self):
        there, grades = make()
        found = measured(inputs((there, grades)))
        assert found["random.strict"].protocol == {
            **{"k": 4, "recorded": 4, "scorer": "strict@1", "answers": "large, other, small, tuned", "tie": 0.001},
            **{"shuffle": True, "order_seed": 0, "bootstrap": 200, "seeds": 0},
        }
        many = Answers(**{**vars(there), "source": tuple(f"s{n % 5}" for n in range(len(there)))})
        assert measured(inputs((many, grades)))["random.loose"].protocol["answers"] == "5 sources"

    def test_one_candidate_is_one_sample(self):
        found = make(k=1)
        mine = measured(inputs(found, [Told()]))
        assert set(mine) == {f"{name}.{scorer}" for name in ("random", "single") for scorer in ("loose", "strict")}
        assert mine["single.loose"].value == pytest.approx(100 * found[1].right["loose"].mean())
        assert mine["single.loose"].low < mine["single.loose"].high

    def test_one_problem_has_no_interval(self):
        found = measured(inputs(make(q=1)))["random.loose"]
        assert (found.low, found.high, found.count) == (None, None, 1)

    def test_fewer_candidates_are_a_seeded_draw(self):
        given = inputs(make())
        one, same, other = (values(given, k=2, order_seed=seed) for seed in (0, 0, 1))
        assert one == same != other
        mean = np.mean([values(given, k=2, order_seed=seed)["random.loose"] for seed in range(40)])
        assert mean == pytest.approx(values(given)["random.loose"], abs=1.5)
        found = measured(given, k=2)["oracle.loose"]
        assert (found.protocol["k"], found.protocol["recorded"]) == (2, 4)

    def test_same_draw_for_every_model(self):
        found = make()
        alone = values(inputs(found), k=2)
        beside = values(inputs(found, [Told()]), k=2)
        assert {name: beside[name] for name in alone} == alone


class TestMistakes:
    def test_more_candidates_than_recorded(self):
        with pytest.raises(
            UserError, match=r"suite\.k=5: only 4 answers to each problem are recorded; use suite\.k=null"
        ):
            suite(k=5).run(inputs(make()))

    def test_another_number_of_answers_for_some(self):
        there, grades = make()
        last = int(there.problem[-1])
        fewer = Answers(**{name: column[:-1] for name, column in vars(there).items()})
        with pytest.raises(UserError, match=rf"1 of 60 problems .* usual 4 \(problem {last} has 3\)"):
            suite().run(inputs((fewer, grades)))

    def test_no_answers(self):
        _, grades = make()
        with pytest.raises(UserError, match="no answers to select from"):
            suite().run(inputs((answers([]), grades)))

    def test_another_dimension_names_both(self):
        model = Regressor(**options("regressor", embedding_dim=8))
        with pytest.raises(UserError, match=r"have 3 dimensions and model\.embedding_dim is 8"):
            suite().run(inputs(make(), [model]))

    def test_embeddings_of_other_answers(self):
        found = make()
        given = inputs(found, [Told()])
        given = AnswerInputs(**{**vars(given), "solutions": given.solutions[:-1]})
        with pytest.raises(UserError, match="239 answers and 65 questions are embedded, and there are 240 answers"):
            suite().run(given)

    def test_a_score_that_is_not_finite(self):
        found = make()
        first = np.zeros(len(found[0]))
        first[[3, 5]] = math.nan
        with pytest.raises(UserError, match="score entropy of 2 of 240 answers is not finite"):
            suite().run(inputs(found, [Told()], first))


class TestWithModels:
    def test_the_suite_says_what_it_needs(self):
        assert suite().requires == (ScoresCandidates,)
        assert suite().needs_classifier is False
        assert suite().needs_model is True
        assert isinstance(Told(), ScoresCandidates)

    def test_lowest_and_highest_are_the_loop_for_every_seed(self):
        found = make()
        first = np.random.default_rng(5).normal(size=len(found[0])).round(1)
        factors = (1.0, -1.0, 0.5)
        mine = measured(inputs(found, [Told(f) for f in factors], first), tie=0.23)
        groups = per_question(found)

        def pick(entries, sign, factor):
            scores = [sign * factor * float(np.float32(first[e[5]])) for e in entries]
            near = [e for e, s in zip(entries, scores, strict=True) if s - min(scores) < 0.23]
            return fraction(near)

        slow = {
            name: [mean_over_questions(groups, lambda es, s=sign, f=f: pick(es, s, f)) for f in factors]
            for name, sign in (("min_entropy", 1), ("max_entropy", -1))
        }
        for name, by_seed in slow.items():
            assert mine[f"{name}.loose"].by_seed == pytest.approx(by_seed)
            assert mine[f"{name}.loose"].value == pytest.approx(np.mean(by_seed))
        against = [a - b for a, b in zip(slow["min_entropy"], slow["max_entropy"], strict=True)]
        assert mine["min_entropy.loose.vs_max"].by_seed == pytest.approx(against)
        assert mine["min_kl.loose"].value == pytest.approx(mine["random.loose"].value), "all equal"
        assert mine["majority.loose"].by_seed == (mine["majority.loose"].value,) * 3
        assert mine["min_entropy.loose"].protocol["seeds"] == 3
        assert "max_entropy.loose.vs_max" not in mine

    def test_cosine_is_the_loop(self):
        found = make()
        given = inputs(found, [Told()])
        q, r = given.questions.double().numpy(), given.solutions.double().numpy()

        def cosine(problem, row):
            return q[problem] @ r[row] / np.linalg.norm(q[problem]) / np.linalg.norm(r[row])

        groups = {p: [(*e, cosine(p, e[5])) for e in entries] for p, entries in per_question(found).items()}
        slow = mean_over_questions(groups, lambda es: max(es, key=lambda e: e[6])[4])
        assert values(given)["cosine.loose"] == pytest.approx(slow)

    def test_planted_signal_is_found(self):
        found = make()
        right = found[1].right["loose"]
        first = np.where(right, -1.0, 1.0) + np.random.default_rng(0).normal(size=len(right)) * 0.3
        mine = measured(inputs(found, [Told()] * 2, first))
        assert mine["min_entropy.loose"].value == pytest.approx(mine["oracle.loose"].value, abs=2)
        assert mine["min_entropy.loose.vs_random"].low > 10
        assert mine["max_entropy.loose.vs_random"].high < -10
        assert mine["min_entropy.loose.vs_max"].low > 20
        assert mine["correlation.entropy"].value < -0.95, "lower is right"
        assert mine["correlation.entropy"].high < -0.9
        assert mine["pooled_correlation.entropy"].value < -0.7
        assert mine["collapsed"].value == 0
        assert mine["ties"].value < 5
        mixed = sum(0 < sum(e[4] for e in entries) < K for entries in per_question(found).values())
        assert mine["correlation.entropy"].count == mixed

    def test_collapse_is_random_pick_under_guard_and_candidate_0_without(self):
        found = make()
        groups = per_question(found)
        given = inputs(found, [Told()], np.full(len(found[0]), 3.618))
        guarded = measured(given)
        for selector in ("min_entropy", "max_entropy"):
            assert guarded[f"{selector}.loose"].value == guarded["random.loose"].value
            difference = guarded[f"{selector}.loose.vs_random"]
            assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert guarded["min_entropy.loose.vs_max"].value == 0
        assert (guarded["entropy_sd"].value, guarded["ties"].value, guarded["collapsed"].value) == (0, 100, 1)
        assert guarded["top_position"].value == pytest.approx(100 / K)
        assert guarded["correlation.entropy"].value == guarded["length_correlation.entropy"].value == 0
        bare = measured(given, tie=0, shuffle=False)
        listed = mean_over_questions(groups, lambda es: es[0][4])
        assert bare["min_entropy.loose"].value == bare["max_entropy.loose"].value == pytest.approx(listed)
        assert bare["min_entropy.loose"].value == bare["first.loose"].value
        assert (bare["top_position"].value, bare["top_source"].value, bare["ties"].value) == (100, 100, 100)
        assert bare["collapsed"].value == 1

    def test_rounding_noise_is_guarded_too(self):
        found = make()
        noise = np.random.default_rng(0).normal(size=len(found[0])) * 1e-5
        mine = measured(inputs(found, [Told()] * 3, noise))
        assert mine["min_entropy.loose.vs_random"].by_seed == (0, 0, 0)
        assert mine["ties"].value == 100

    def test_health_by_hand(self):
        found = make()
        first = np.random.default_rng(2).normal(size=len(found[0]))
        mine = measured(inputs(found, [Told()], first))
        groups = per_question(found).values()
        spreads = [float(np.std([np.float32(first[e[5]]) for e in entries])) for entries in groups]
        assert mine["entropy_sd"].value == pytest.approx(np.mean(spreads), rel=1e-4)
        picked = [min(entries, key=lambda e: first[e[5]])[2] for entries in groups]
        assert mine["top_source"].value == pytest.approx(100 * max(map(picked.count, SOURCES)) / Q)
        _, logvar = Told().posterior(torch.from_numpy(first[:, None]), torch.zeros(1))
        kl = (1 + logvar.exp() - 1 - logvar).mean() / 2
        assert mine["kl"].value == pytest.approx(float(kl), rel=1e-4)
        assert (mine["active_dims"].value, mine["kl"].unit, mine["entropy_sd"].unit) == (1, "nats", "nats")

    def test_no_mixed_question_says_so_by_its_count(self):
        found = make(share=2.0)
        mine = measured(inputs(found, [Told()]))
        assert (mine["correlation.entropy"].value, mine["correlation.entropy"].count) == (0, 0)
        assert mine["correlation.entropy"].low is None

    def test_length_correlation(self):
        found = make()
        lengths = np.array([len(text) for text in found[0].text], dtype=float)
        mine = values(inputs(found, [Told(), Told(-1.0)], lengths))
        constant = np.mean([len({len(e[1]) for e in es}) == 1 for es in per_question(found).values()])
        assert mine["length_correlation.entropy"] == pytest.approx(0, abs=1e-9)
        assert values(inputs(found, [Told()], lengths))["length_correlation.entropy"] == pytest.approx(1 - constant)

    def test_the_order_of_answers_on_disk_does_not_matter(self):
        there, grades = make()
        first = np.random.default_rng(2).normal(size=len(there))
        given = inputs((there, grades), [Told()], first)
        turn = np.random.default_rng(9).permutation(len(there))

        def turned(column):
            return column[turn] if isinstance(column, np.ndarray) else tuple(column[n] for n in turn)

        moved = AnswerInputs(
            given.problems,
            Answers(**{name: turned(column) for name, column in vars(there).items()}),
            Grades(
                grades.scorers,
                grades.versions,
                {name: turned(column) for name, column in grades.final.items()},
                {name: turned(column) for name, column in grades.right.items()},
                grades.timeouts,
            ),
            given.models,
            given.questions,
            given.solutions[torch.from_numpy(turn)],
            given.device,
        )
        one, other = values(given), values(moved)
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, abs=1e-5), name

    def test_progress_reaches_the_end(self):
        seen = []
        given = inputs(make(), [Told(), Told()])
        given = AnswerInputs(**{**vars(given), "track": lambda done, total: seen.append((done, total))})
        suite().run(given)
        assert seen == [(240, 480), (480, 480)]

    def test_real_models(self):
        """Both methods as their YAML describes them, untrained: every number is there and finite."""
        found = make()
        for target, name in ((RCVAE, "rcvae"), (Regressor, "regressor")):
            torch.manual_seed(0)
            mine = measured(inputs(found, [target(**options(name, embedding_dim=E)) for _ in range(2)]))
            assert all(math.isfinite(m.value) for m in mine.values())
            kinds = ["entropy", "kl", "recon", "elbo"] if name == "rcvae" else ["distance"]
            for kind in kinds:
                assert {f"min_{kind}.loose", f"max_{kind}.strict", f"min_{kind}.loose.vs_max"} <= mine.keys()
                assert {
                    f"{c}.{kind}" for c in ("correlation", "pooled_correlation", "length_correlation")
                } <= mine.keys()
            health = {"kl", "active_dims", "entropy_sd", "ties", "top_position", "top_source", "collapsed"}
            assert (health <= mine.keys()) == (name == "rcvae")
            assert health.isdisjoint(mine) == (name == "regressor")


@pytest.fixture(scope="module")
def arrays():
    found = make()
    first = np.where(found[1].right["loose"], -1.0, 1.0)
    return suite().run(inputs(found, [Told(), Told(2.0)], first)).arrays


class TestArrays:
    def test_curves(self, arrays):
        assert arrays["k_values"].tolist() == [1, 2, 4]
        found = make()
        first = np.where(found[1].right["loose"], -1.0, 1.0)
        mine = measured(inputs(found, [Told(), Told(2.0)], first))
        selectors = {name.split(".")[0] for name in mine if name.endswith(".loose")}
        assert selectors >= {*SELECTORS, "cosine", "min_entropy", "max_entropy"}
        for name in selectors:
            curve = arrays[f"accuracy_at_k.{name}"]
            assert curve.dtype == np.float32
            assert curve[0] == pytest.approx(mine["random.loose"].value, rel=1e-5)
            assert curve[-1] == pytest.approx(mine[f"{name}.loose"].value, rel=1e-5)
            assert (arrays[f"accuracy_at_k.{name}.low"] <= curve).all()
            assert (arrays[f"accuracy_at_k.{name}.high"] >= curve).all()

    def test_histograms_count_right_and_wrong(self, arrays):
        right = make()[1].right["loose"]
        for name in ("entropy", "kl"):
            assert len(arrays[f"{name}_edges"]) == len(arrays[f"{name}_right"]) + 1
            assert arrays[f"{name}_right"].sum() == right.sum()
            assert arrays[f"{name}_wrong"].sum() == (~right).sum()
        assert arrays["entropy_right"][0] == right.sum()

    def test_plane_and_picks(self, arrays):
        assert arrays["z"].shape == (Q * K, 2)
        assert arrays["z_right"].dtype == bool
        assert arrays["z_right"].sum() == make()[1].right["loose"].sum()
        assert arrays["picks_position"].sum() == pytest.approx(1)
        assert arrays["picks_source"].sum() == pytest.approx(1)
        assert arrays["sources"].tolist() == sorted(SOURCES)

    def test_they_are_stored_without_pickle_and_small(self, arrays):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        assert buffer.tell() < 200_000
        buffer.seek(0)
        with np.load(buffer, allow_pickle=False) as stored:
            assert set(stored) == set(arrays)

    def test_without_models_there_are_only_curves(self):
        arrays = suite().run(inputs(make())).arrays
        assert all(name == "k_values" or name.startswith("accuracy_at_k.") for name in arrays)

    def test_principal_plane_keeps_the_two_widest_directions(self):
        class Wide(Told):
            def posterior(self, solution, question):
                return torch.cat((0.1 * solution, 5 * solution[:, :1], 2 * solution[:, 1:2]), 1), torch.zeros(
                    len(solution), 5
                )

        found = suite().run(inputs(make(), [Wide()])).arrays["z"]
        covariance = np.cov(found.T)
        assert covariance[0, 0] > covariance[1, 1] > 0.5
        assert covariance[0, 1] == pytest.approx(0, abs=1e-3)
