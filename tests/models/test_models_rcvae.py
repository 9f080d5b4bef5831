"""R-CVAE and its control against distributions of torch and against loops over samples and dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, FitsInClosedForm, LooksAtData, Reconstructs, ScoresCandidates, Validates
from vaebench.data.embeddings import Pairs
from vaebench.engine.loop import fit
from vaebench.errors import UserError
from vaebench.nn.latents import reparameterise

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
E, L, B = 6, 4, 10
SMALL = {"latent_dim": L, "hidden": [16, 8]}


def build(name: str, *, seed: int = 0, embedding_dim: int = E, **options):
    """A model as its YAML describes it, small; ``options`` override it."""
    leaf = OmegaConf.merge({"embedder": {"dim": embedding_dim}}, {"model": OmegaConf.load(CONF / f"{name}.yaml")})
    arguments = OmegaConf.to_container(leaf, resolve=True)["model"]
    target = get_object(arguments.pop("_target_"))
    del arguments["version"]
    assert arguments.pop("data") == "text"
    torch.manual_seed(seed)
    return target(**(arguments | (SMALL if name == "rcvae" else {"hidden": [16]}) | options))


def pairs(count: int = 40, seed: int = 0) -> Pairs:
    """Coordinates of different means and scales, the second of the questions constant."""
    random = torch.Generator().manual_seed(seed)
    questions = torch.randn(count, E, generator=random) * torch.arange(1, E + 1) + 3
    questions[:, 1] = 0.1
    solutions = questions.roll(1, 1) * 0.5 + torch.randn(count, E, generator=random)
    return Pairs("toy", questions, solutions, source="", digest="", stand_in=True)


@pytest.fixture
def batch() -> Batch:
    data = pairs(B, seed=1)
    return Batch(data.solutions, data.questions)


@dataclass
class Pieces:
    """What the objective is made of, in standardised coordinates; ``z`` is what `loss` draws after manual_seed(5)."""

    x: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor
    made: Tensor
    made_at_mean: Tensor


def pieces(model, batch: Batch) -> Pieces:
    with torch.no_grad():
        x = (batch.x - model.solution.mean) / model.solution.std
        y = (batch.y - model.question.mean) / model.question.std
        mu, logvar = model.encoder(torch.cat((x, y), 1)).chunk(2, 1)
        if model.logvar_clamp is not None:
            logvar = logvar.clamp(-model.logvar_clamp, model.logvar_clamp)
        torch.manual_seed(5)
        z = reparameterise(mu, logvar)
        made, made_at_mean = (model.decoder(torch.cat((code, y), 1)) for code in (z, mu))
    return Pieces(x, mu, logvar, z, made, made_at_mean)


def number(value: Tensor) -> float:
    return float(value.detach())


def slow_error(likelihood: str, x: Tensor, mean: Tensor, variance: float) -> float:
    """One solution's error, coordinate by coordinate."""
    a, b = x.tolist(), mean.tolist()
    if likelihood == "cosine":
        dot = sum(u * v for u, v in zip(a, b, strict=True))
        return 1 - dot / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))
    variance = 1.0 if likelihood == "unit_variance" else variance
    return sum(
        0.5 * math.log(2 * math.pi * variance) + (u - v) ** 2 / (2 * variance) for u, v in zip(a, b, strict=True)
    )


def slow_kl(mu: Tensor, logvar: Tensor) -> list[float]:
    return [0.5 * (m * m + math.exp(s) - 1 - s) for m, s in zip(mu.tolist(), logvar.tolist(), strict=True)]


def loss_after(model, batch: Batch, step: int = 0):
    torch.manual_seed(5)
    return model.loss(batch, step)


def log_variance(model) -> float:
    """Of the likelihood, moved to where neither 0 nor 1 hides a mistake."""
    if model.log_variance is None:
        return 0.0
    with torch.no_grad():
        model.log_variance.fill_(-0.7)
    return -0.7


LIKELIHOODS = ["learned_variance", "unit_variance", "cosine"]


class TestObjective:
    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    @pytest.mark.parametrize("standardise", ["coordinate", "none"])
    def test_loss_is_the_loop(self, batch, likelihood, standardise):
        model = build("rcvae", likelihood=likelihood, standardise=standardise, beta=0.3)
        model.look(pairs())
        p, variance = pieces(model, batch), math.exp(log_variance(model))
        recon = sum(slow_error(likelihood, p.x[i], p.made[i], variance) for i in range(B)) / B
        kl = sum(sum(slow_kl(p.mu[i], p.logvar[i])) for i in range(B)) / B
        found = loss_after(model, batch)
        assert number(found.total) == pytest.approx(recon + 0.3 * kl, rel=1e-5)
        assert number(found.terms["recon"]) == pytest.approx(recon, rel=1e-5)
        assert number(found.terms["kl"]) == pytest.approx(kl, rel=1e-5)
        assert ("sigma" in found.terms) == (likelihood == "learned_variance")

    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_validation_loss_is_the_loop_at_the_mean(self, batch, likelihood):
        model = build("rcvae", likelihood=likelihood, beta=0.3, kl_warmup_steps=100, free_bits=2.0)
        model.look(pairs())
        p, variance = pieces(model, batch), math.exp(log_variance(model))
        slow = [
            slow_error(likelihood, p.x[i], p.made_at_mean[i], variance) + 0.3 * sum(slow_kl(p.mu[i], p.logvar[i]))
            for i in range(B)
        ]
        assert number(model.validation_loss(batch)) == pytest.approx(sum(slow) / B, rel=1e-5)
        assert number(model.validation_loss(batch)) == number(model.validation_loss(batch))

    @pytest.mark.parametrize("likelihood", ["learned_variance", "unit_variance"])
    def test_gaussian_error_is_torchs(self, batch, likelihood):
        model = build("rcvae", likelihood=likelihood)
        model.look(pairs())
        p = pieces(model, batch)
        scale = torch.tensor(log_variance(model) / 2).exp()
        peer = -Independent(Normal(p.made_at_mean, scale), 1).log_prob(p.x)
        torch.testing.assert_close(model.scores(batch.x, batch.y)["recon"], peer)

    def test_free_bits_charge_each_dimension_at_least_that(self, batch):
        free, plain = (build("rcvae", free_bits=bits, beta=0.7) for bits in (0.1, 0.0))
        p = pieces(plain, batch)
        per_dimension = [sum(slow_kl(p.mu[i], p.logvar[i])[j] for i in range(B)) / B for j in range(L)]
        assert min(per_dimension) < 0.1 < max(per_dimension)
        extra = sum(max(0.1, kl) - kl for kl in per_dimension)
        one, other = loss_after(free, batch), loss_after(plain, batch)
        assert number(one.total - other.total) == pytest.approx(0.7 * extra, rel=1e-2)
        assert torch.equal(one.terms["kl"], other.terms["kl"])

    def test_dimensions_below_the_free_bits_have_no_gradient_of_the_kl(self, batch):
        model = build("rcvae", free_bits=100.0, likelihood="unit_variance", beta=50.0)
        without = build("rcvae", likelihood="unit_variance", beta=0.0)
        gradients = [torch.autograd.grad(loss_after(m, batch).total, list(m.parameters())) for m in (model, without)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)

    def test_warmup_raises_beta_linearly(self, batch):
        model = build("rcvae", beta=0.4, kl_warmup_steps=10)
        at = {step: loss_after(model, batch, step) for step in (0, 5, 10, 1000)}
        recon, kl = number(at[0].terms["recon"]), number(at[0].terms["kl"])
        for step, weight in {0: 0.0, 5: 0.5, 10: 1.0, 1000: 1.0}.items():
            assert number(at[step].total) == pytest.approx(recon + weight * 0.4 * kl, rel=1e-6)

    def test_terms_are_detached(self, batch):
        terms = loss_after(build("rcvae"), batch).terms
        assert set(terms) == {"recon", "kl", "active_dims", "sigma"}
        assert not any(value.requires_grad for value in terms.values())

    def test_active_dimensions_are_counted(self, batch):
        model = build("rcvae", standardise="none")
        with torch.no_grad():  # mu = (1, 0, 0.2, 0.4), log-variance 0: KL 0.5, 0, 0.02, 0.08
            model.encoder[-1].weight.zero_()
            model.encoder[-1].bias.copy_(torch.tensor([1, 0, 0.2, 0.4, 0, 0, 0, 0]))
        terms = loss_after(model, batch).terms
        assert number(terms["active_dims"]) == 2
        assert number(terms["kl"]) == pytest.approx(0.6, rel=1e-5)

    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_gradients_reach_every_parameter(self, batch, likelihood):
        model = build("rcvae", likelihood=likelihood, layer_norm=True, activation="gelu")
        (phase,) = model.phases
        assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()}
        phase.loss(batch, 0).total.backward()
        assert all(p.grad is not None and number(p.grad.abs().sum()) > 0 for p in model.parameters())


class TestPosterior:
    def test_entropy_and_kl_are_torchs(self, batch):
        model = build("rcvae")
        model.look(pairs())
        mu, logvar = model.posterior(batch.x, batch.y)
        q = Normal(mu.double(), (logvar.double() / 2).exp())
        prior = Normal(torch.zeros(L).double(), torch.ones(L).double())
        found = {name: value.double() for name, value in model.scores(batch.x, batch.y).items()}
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(found["entropy"], q.entropy().sum(1), **close)
        torch.testing.assert_close(found["entropy"], Independent(q, 1).entropy(), **close)
        torch.testing.assert_close(found["kl"], kl_divergence(q, prior).sum(1), **close)
        torch.testing.assert_close(found["elbo"], found["recon"] + found["kl"], **close)

    def test_entropy_of_the_prior_is_the_constant(self):
        model = build("rcvae", latent_dim=256)
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
            model.encoder[-1].bias.zero_()
        found = model.scores(torch.randn(3, E), torch.randn(3, E))
        assert found["entropy"].tolist() == pytest.approx([363.248] * 3, abs=1e-3)
        assert found["kl"].tolist() == [0, 0, 0]

    def test_entropy_survives_where_variances_underflow(self):
        model = build("rcvae", logvar_clamp=None)
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
            model.encoder[-1].bias.copy_(torch.tensor([0.0] * L + [-500.0] * L))
        found = model.scores(torch.randn(3, E), torch.randn(3, E))["entropy"]
        assert found.tolist() == pytest.approx([L * (0.5 * math.log(2 * math.pi * math.e) - 250)] * 3)

    @pytest.mark.parametrize(("clamp", "expected"), [(2.0, 2.0), (10.0, 10.0), (None, 50.0)])
    def test_log_variances_are_clamped_on_both_sides(self, clamp, expected):
        model = build("rcvae", logvar_clamp=clamp)
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
            model.encoder[-1].bias.copy_(torch.tensor([0.0] * L + [50.0, -50.0, 1.0, -1.0]))
        _, logvar = model.posterior(torch.randn(1, E), torch.randn(1, E))
        assert logvar[0].tolist() == [expected, -expected, 1.0, -1.0]

    def test_scores_are_the_same_each_time_and_leave_the_generator_alone(self, batch):
        model = build("rcvae").eval()
        before = torch.get_rng_state()
        first, second = (model.scores(batch.x, batch.y) for _ in range(2))
        assert list(first) == ["entropy", "kl", "recon", "elbo"]
        assert all(torch.equal(first[name], second[name]) and first[name].shape == (B,) for name in first)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_candidates_scores_do_not_depend_on_its_neighbours(self, batch):
        model = build("rcvae").eval()
        together = model.scores(batch.x, batch.y)
        alone = [model.scores(batch.x[i : i + 1], batch.y[i : i + 1]) for i in range(B)]
        for name, values in together.items():
            torch.testing.assert_close(values, torch.cat([one[name] for one in alone]))

    def test_the_prior_does_not_see_the_question(self, batch):
        """Moving the posterior to N(0, I) costs no KL whatever the question is."""
        model = build("rcvae")
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
            model.encoder[-1].bias.zero_()
        assert number(loss_after(model, batch).terms["kl"]) == 0


class TestStandardisation:
    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_statistics_are_those_of_all_pairs(self, name):
        data, model = pairs(), build(name)
        model.look(data)
        for found, values in ((model.solution, data.solutions), (model.question, data.questions)):
            for j in range(E):
                column = values[:, j].double().tolist()
                mean = sum(column) / len(column)
                std = math.sqrt(sum((v - mean) ** 2 for v in column) / len(column))
                assert number(found.mean[j]) == pytest.approx(mean, rel=1e-5)
                assert number(found.std[j]) == pytest.approx(std if std > 1e-12 else 1.0, rel=1e-5)
        assert number(model.question.std[1]) == 1.0, "a constant coordinate"
        assert {"solution.mean", "solution.std", "question.mean", "question.std"} <= set(model.state_dict())

    def test_scores_do_not_depend_on_units(self, batch):
        """Another mean and scale of every coordinate in training and test is the same problem."""
        data, scale, shift = pairs(), torch.tensor([1.0, 2, 4, 8, 0.5, 0.25]), torch.arange(E) * 1.0
        moved = Pairs("moved", data.questions * scale + shift, data.solutions * scale + shift, source="", digest="")
        one, other = build("rcvae"), build("rcvae")
        one.look(data)
        other.look(moved)
        found, again = one.scores(batch.x, batch.y), other.scores(batch.x * scale + shift, batch.y * scale + shift)
        for name in found:
            torch.testing.assert_close(found[name], again[name], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_none_leaves_embeddings_as_they_are(self, name):
        model = build(name, standardise="none")
        model.look(pairs())
        assert torch.equal(model.solution(pairs().solutions), pairs().solutions)

    def test_learnt_variance_starts_at_the_solutions_own(self):
        data = pairs()
        standard, raw = build("rcvae"), build("rcvae", standardise="none")
        standard.look(data)
        raw.look(data)
        assert number(standard.log_variance) == pytest.approx(0.0, abs=1e-5)
        variance = data.solutions.double().var(0, correction=0).mean()
        assert number(raw.log_variance) == pytest.approx(math.log(variance), rel=1e-5)

    def test_looking_twice_is_looking_once(self):
        once, twice = build("rcvae"), build("rcvae")
        once.look(pairs())
        twice.look(pairs())
        twice.look(pairs())
        for name, value in once.state_dict().items():
            assert torch.equal(value, twice.state_dict()[name]), name


class TestRegressor:
    def test_loss_and_scores_are_the_loop(self, batch):
        model = build("regressor")
        model.look(pairs())
        x = (batch.x - model.solution.mean) / model.solution.std
        made = model.network((batch.y - model.question.mean) / model.question.std)
        slow = [sum((a - b) ** 2 for a, b in zip(x[i].tolist(), made[i].tolist(), strict=True)) for i in range(B)]
        assert model.scores(batch.x, batch.y)["distance"].tolist() == pytest.approx(slow, rel=1e-5)
        assert number(model.loss(batch, 0).total) == pytest.approx(sum(slow) / B, rel=1e-5)
        assert number(model.validation_loss(batch)) == pytest.approx(sum(slow) / B, rel=1e-5)
        assert model.posterior(batch.x, batch.y) is None

    @pytest.mark.parametrize("dim", [256, 384, 1024])
    def test_it_has_about_as_many_weights_as_the_method(self, dim):
        counts = []
        for name in ("rcvae", "regressor"):
            shipped = OmegaConf.load(CONF / f"{name}.yaml")
            options = {"hidden": list(shipped.hidden)} | ({"latent_dim": 256} if name == "rcvae" else {})
            with torch.device("meta"):
                counts.append(sum(p.numel() for p in build(name, embedding_dim=dim, **options).parameters()))
        assert counts[1] == pytest.approx(counts[0], rel=0.1)


class TestBoth:
    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_capabilities(self, name):
        model = build(name)
        for capability in (LooksAtData, Validates, ScoresCandidates):
            assert isinstance(model, capability)
        assert not isinstance(model, Reconstructs | FitsInClosedForm)

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_training_finds_what_the_question_says(self, name):
        data, model = pairs(200), build(name)
        model.look(data)
        before = number(model.validation_loss(Batch(data.solutions, data.questions)))
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        fit(
            model,
            data,
            optimizers={model.phases[0].name: adam},
            seed=0,
            spec=TrainSpec(epochs=20, batch_size=20, keep="best"),
        )
        assert number(model.validation_loss(Batch(data.solutions, data.questions))) < 0.8 * before

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_weights_and_statistics_come_back(self, name, batch):
        one, other = build(name, seed=0), build(name, seed=1)
        one.look(pairs())
        other.load_state_dict(one.state_dict())
        for key, value in one.scores(batch.x, batch.y).items():
            assert torch.equal(value, other.scores(batch.x, batch.y)[key])

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    @pytest.mark.parametrize(("which", "shapes"), [("solutions", (7, E)), ("questions", (E, 7))])
    def test_another_width_names_both(self, name, which, shapes):
        model = build(name)
        message = rf"embedded {which} have 7 dimensions and model\.embedding_dim is 6: .* same embedder"
        with pytest.raises(UserError, match=message):
            model.scores(torch.zeros(3, shapes[0]), torch.zeros(3, shapes[1]))

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_bfloat16_networks_give_float32_scores(self, name, batch):
        model = build(name)
        with torch.autocast("cpu", torch.bfloat16):
            assert all(value.dtype == torch.float32 for value in model.scores(batch.x, batch.y).values())
            assert model.loss(batch, 0).total.dtype == torch.float32

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_no_hidden_layer_is_linear(self, name):
        model = build(name, hidden=[])
        network = model.encoder if name == "rcvae" else model.network
        assert [type(layer).__name__ for layer in network] == ["Linear"]

    @pytest.mark.parametrize("name", ["rcvae", "regressor"])
    def test_layers_are_those_asked_for(self, name):
        model = build(name, hidden=[16, 8], layer_norm=True, activation="gelu")
        network = model.encoder if name == "rcvae" else model.network
        inner = ["LayerNorm", "GELU", "Linear"]
        assert [type(layer).__name__ for layer in network] == ["Linear", *inner, *inner]
        if name == "rcvae":
            widths = [layer.in_features for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
            assert widths == [L + E, 8, 16], "the decoder mirrors the encoder"

    def test_every_mistake_is_named_at_once(self):
        with pytest.raises(UserError) as caught:
            build(
                "rcvae",
                **{"embedding_dim": 0, "latent_dim": 0, "hidden": [8, 0], "activation": "rely", "beta": -1.0},
                **{"likelihood": "learnt_variance", "kl_warmup_steps": -1, "free_bits": -0.5, "logvar_clamp": 0.0},
                standardise="coordinates",
            )
        lines = caught.value.lines
        assert len(lines) == 10
        assert "unknown model.likelihood 'learnt_variance'; did you mean 'learned_variance'?" in str(caught.value)
        assert "unknown model.activation 'rely'; did you mean 'relu'? Valid: gelu, relu" in lines
        assert "model.hidden=[8, 0]: expected a list of whole numbers, each at least 1" in lines
        assert "model.logvar_clamp=0.0: expected a finite number above 0 or null" in lines
        assert "model.beta=-1.0: expected a finite number, at least 0" in lines
        with pytest.raises(UserError, match=r"unknown model\.standardise 'unit'"):
            build("regressor", standardise="unit")


def test_posterior_collapse_makes_all_entropies_equal():
    """With unit variance and raw unit vectors the KL costs more than it saves: the posterior is the prior."""
    random = torch.Generator().manual_seed(0)
    questions, solutions = (F.normalize(torch.randn(200, E, generator=random), dim=1) for _ in range(2))
    model = build("rcvae", likelihood="unit_variance", standardise="none", beta=4.0)
    data = Pairs("unit", questions, solutions, source="", digest="", stand_in=True)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    fit(model, data, optimizers={"cvae": adam}, seed=0, spec=TrainSpec(epochs=60, batch_size=50))
    found = model.scores(solutions, questions)
    assert number(found["kl"].mean()) < 0.02
    assert number(found["entropy"].std()) < 0.05
