import math

import pytest
import torch

from vaebench.contracts import Batch
from vaebench.errors import UserError
from vaebench.nn.latents import gaussian_kl, importance, posterior, reparameterise, top_mask

OPTIONS = {"latent_dim": 12, "k": 3, "hidden": [16]}
KINDS = ["abs_z", "abs_mu", "var_mu", "kl"]


def noisy_code(model, batch):
    """The posterior and the very sample that the next `loss` draws after ``torch.manual_seed(5)``."""
    torch.manual_seed(5)
    mu, logvar = posterior(model.encoder(batch.x))
    z = reparameterise(mu, logvar)
    torch.manual_seed(5)
    return mu, logvar, z


def reference_loss(model, batch, mu, logvar, z, mask):
    """The loss under a given mask, image by image."""
    totals = []
    for i in range(len(z)):
        y = model.decoder((z[i] * mask[i]).unsqueeze(0)).sigmoid()
        kl = sum(0.5 * (mu[i, j] ** 2 + logvar[i, j].exp() - 1 - logvar[i, j]) for j in range(z.shape[1]))
        totals.append((y - batch.x[i]).square().sum() + model.beta * kl)
    return torch.stack(totals).mean()


def gradients(total, model):
    return torch.autograd.grad(total, list(model.parameters()))


def slow_scores(kind, mu, logvar, z):
    """Importance of each entry by its definition, as nested lists of floats."""
    mu, logvar, z = mu.detach(), logvar.detach(), z.detach()
    b, l = z.shape  # noqa: E741
    means = [sum(float(mu[i, j]) for i in range(b)) / b for j in range(l)]
    rule = {
        "abs_z": lambda i, j: abs(float(z[i, j])),
        "abs_mu": lambda i, j: abs(float(mu[i, j])),
        "var_mu": lambda i, j: (float(mu[i, j]) - means[j]) ** 2,
        "kl": lambda i, j: 0.5 * (float(mu[i, j]) ** 2 + math.exp(float(logvar[i, j])) - 1 - float(logvar[i, j])),
    }[kind]
    return [[rule(i, j) for j in range(l)] for i in range(b)]


def dimension_mask(scores, k):
    b, l = len(scores), len(scores[0])  # noqa: E741
    means = [sum(row[j] for row in scores) / b for j in range(l)]
    kept = sorted(range(l), key=lambda j: -means[j])[:k]
    return torch.tensor([[j in kept for j in range(l)]] * b), means


def entry_mask(scores, k):
    b, l = len(scores), len(scores[0])  # noqa: E741
    order = sorted(((scores[i][j], i, j) for i in range(b) for j in range(l)), reverse=True)[: b * k]
    kept = {(i, j) for _, i, j in order}
    return torch.tensor([[(i, j) in kept for j in range(l)] for i in range(b)]), order[-1][0]


class TestTopK:
    def test_loss_and_gradients_are_those_of_a_constant_mask(self, make, batch):
        model = make("topk", **OPTIONS)
        mu, logvar, z = noisy_code(model, batch)
        output = model.loss(batch, 0)
        rows = []
        for row in z.tolist():
            kept = sorted(range(12), key=lambda j: -abs(row[j]))[:3]
            rows.append([j in kept for j in range(12)])
        expected = reference_loss(model, batch, mu, logvar, z, torch.tensor(rows))
        torch.testing.assert_close(output.total, expected)
        for found, slow in zip(gradients(output.total, model), gradients(expected, model), strict=True):
            torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-5)

    def test_kl_kept_is_the_kl_of_the_kept_latents(self, make, batch):
        model = make("topk", **OPTIONS)
        mu, logvar, z = noisy_code(model, batch)
        terms = model.loss(batch, 0).terms
        kept = gaussian_kl(mu, logvar)[top_mask(z.abs(), 3)].sum() / len(z)
        torch.testing.assert_close(terms["kl_kept"], kept.detach())

    def test_test_code_keeps_the_k_largest_means_of_each_image(self, make, batch):
        model = make("topk", **OPTIONS).eval()
        mu, _ = posterior(model.encoder(batch.x))
        for row, code in zip(mu.tolist(), model.encode(batch.x).tolist(), strict=True):
            kept = sorted(range(12), key=lambda j: -abs(row[j]))[:3]
            assert code == [row[j] if j in kept else 0 for j in range(12)]

    def test_drawn_codes_keep_the_k_largest_draws(self, make, batch):
        model = make("topk", **OPTIONS).eval()
        mu, logvar = posterior(model.encoder(batch.x))
        z = mu + (logvar / 2).exp() * torch.randn(mu.shape, generator=torch.Generator().manual_seed(3))
        found = model.encode_drawn(batch.x, torch.Generator().manual_seed(3))
        torch.testing.assert_close(found, z * top_mask(z.abs(), 3))

    def test_samples_are_masked_one_by_one(self, make):
        model = make("topk", **OPTIONS).eval()
        z = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
        expected = model.decode(z * top_mask(z.abs(), 3))
        assert torch.equal(model.sample(5, torch.Generator().manual_seed(3)), expected)


class TestBatchTopK:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("granularity", ["dimension", "entry"])
    def test_loss_and_gradients_are_those_of_a_constant_mask(self, make, batch, kind, granularity):
        model = make("batchtopk", importance=kind, granularity=granularity, **OPTIONS)
        mu, logvar, z = noisy_code(model, batch)
        output = model.loss(batch, 0)
        mask, _ = (dimension_mask if granularity == "dimension" else entry_mask)(slow_scores(kind, mu, logvar, z), 3)
        assert int(mask.sum()) == 3 * len(z)
        expected = reference_loss(model, batch, mu, logvar, z, mask)
        torch.testing.assert_close(output.total, expected)
        for found, slow in zip(gradients(output.total, model), gradients(expected, model), strict=True):
            torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-5)
        kept = gaussian_kl(mu, logvar)[mask].sum() / len(z)
        torch.testing.assert_close(output.terms["kl_kept"], kept.detach())

    def test_rescaled_codes_are_larger_in_training_only(self, make, batch):
        model, plain = (make("batchtopk", rescale=rescale, **OPTIONS) for rescale in ("training", None))
        mu, logvar, z = noisy_code(model, batch)
        mask, _ = dimension_mask(slow_scores("abs_z", mu, logvar, z), 3)
        torch.testing.assert_close(
            model.loss(batch, 0).total, reference_loss(model, batch, mu, logvar, z, mask * (12 / 3))
        )
        torch.manual_seed(5)
        plain.loss(batch, 0)
        assert torch.equal(model.encode(batch.x), plain.encode(batch.x))

    @torch.no_grad()
    @pytest.mark.parametrize("granularity", ["dimension", "entry"])
    def test_drawn_codes_are_samples_under_the_test_mask(self, make, batch, granularity):
        model = make("batchtopk", granularity=granularity, **OPTIONS)
        model.loss(batch, 0)
        mu, logvar = posterior(model.encoder(batch.x))
        random = torch.Generator().manual_seed(3)
        found = model.encode_drawn(batch.x, torch.Generator().manual_seed(3))
        noise = torch.randn(mu.shape, generator=random)
        for i in range(len(mu)):
            for j in range(12):
                z = float(mu[i, j]) + math.exp(float(logvar[i, j]) / 2) * float(noise[i, j])
                kept = model.ema_mask()[j] if granularity == "dimension" else abs(z) >= float(model.threshold.read())
                assert float(found[i, j]) == pytest.approx(z if kept else 0.0, abs=1e-5)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("start", ["first", "debiased"])
    def test_importance_ema_is_the_loop(self, make, batch, kind, start):
        model = make("batchtopk", importance=kind, ema_start=start, ema_decay=0.8, **OPTIONS)
        average, weight = torch.zeros(12, dtype=torch.float64), 0.0
        for step in range(4):
            part = Batch(batch.x[step * 8 : step * 8 + 8], batch.y)
            _, means = dimension_mask(slow_scores(kind, *noisy_code(model, part)), 3)
            model.loss(part, step)
            a = 0.0 if start == "first" and step == 0 else 0.8
            average, weight = a * average + (1 - a) * torch.tensor(means).double(), a * weight + 1 - a
        torch.testing.assert_close(model.importance_ema(), (average / weight).float(), rtol=1e-4, atol=1e-6)
        largest = sorted(range(12), key=lambda j: -float(average[j]))[:3]
        assert model.ema_mask().nonzero().flatten().tolist() == sorted(largest)

    @pytest.mark.parametrize("kind", KINDS)
    def test_threshold_ema_is_the_loop(self, make, batch, kind):
        model = make("batchtopk", importance=kind, granularity="entry", ema_decay=0.8, **OPTIONS)
        expected = None
        for step in range(4):
            part = Batch(batch.x[step * 8 : step * 8 + 8], batch.y)
            _, smallest = entry_mask(slow_scores(kind, *noisy_code(model, part)), 3)
            model.loss(part, step)
            expected = smallest if expected is None else 0.8 * expected + 0.2 * smallest
        assert float(model.threshold.read()) == pytest.approx(expected, rel=1e-4)

    def test_threshold_takes_no_zeros_in(self, make, batch, monkeypatch):
        model = make("batchtopk", granularity="entry", ema_decay=0.5, **OPTIONS)
        scores = torch.zeros(32, 12)  # 96 are kept, of which so many are above 0
        expected = 0.0
        for step, count in enumerate([0, 1, 5, 96, 300, 2]):
            scores.zero_().view(-1)[:count] = torch.linspace(0.5, 2.0, count)
            monkeypatch.setattr("vaebench.nn.latents.importance", lambda *_, **__: scores)
            model.loss(batch, step)
            above = sorted((value for value in scores.flatten().tolist() if value > 0), reverse=True)[:96]
            smallest = above[-1] if above else 0.0
            expected = smallest if step == 0 else 0.5 * expected + 0.5 * smallest
            assert float(model.threshold.read()) == pytest.approx(expected)

    def test_test_code_is_the_mean_under_one_mask_for_every_batch(self, make, batch):
        model = make("batchtopk", **OPTIONS)
        for step in range(3):
            model.loss(batch, step)
        model.eval()
        mask = model.ema_mask()
        assert mask.dtype == torch.bool
        assert int(mask.sum()) == 3
        for size in (1, 5, 32):
            x = batch.x[:size]
            mu, _ = posterior(model.encoder(x))
            torch.testing.assert_close(model.encode(x), torch.where(mask, mu, 0.0))
        assert torch.equal(model.ema_mask(), mask), "encoding must not move the average"

    @pytest.mark.parametrize("kind", KINDS)
    def test_test_code_of_entries_is_thresholded(self, make, batch, kind):
        model = make("batchtopk", importance=kind, granularity="entry", **OPTIONS)
        with torch.no_grad():
            model.encoder[-1].weight.mul_(20)  # means that stand out of the noise, as those of a trained model do
        for step in range(3):
            model.loss(batch, step)
        mu, logvar = posterior(model.encoder(batch.x))
        scores = importance(kind, z=mu, mu=mu, logvar=logvar, center=model.center.read())
        expected = torch.where(scores >= model.threshold.read(), mu, 0.0)
        assert torch.equal(model.eval().encode(batch.x), expected)
        assert 0 < int((expected != 0).sum()) < expected.numel()

    def test_center_of_entries_averages_the_batch_means(self, make, batch):
        model = make("batchtopk", importance="var_mu", granularity="entry", ema_decay=0.5, **OPTIONS)
        parts = [Batch(batch.x[:16], batch.y), Batch(batch.x[16:], batch.y)]
        for step, part in enumerate(parts):
            model.loss(part, step)
        means = [posterior(model.encoder(part.x))[0].mean(0) for part in parts]
        torch.testing.assert_close(model.center.read(), 0.5 * means[0] + 0.5 * means[1])

    def test_samples_carry_the_test_mask(self, make, batch):
        model = make("batchtopk", **OPTIONS)
        model.loss(batch, 0)
        z = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
        expected = model.decode(z * model.ema_mask())
        assert torch.equal(model.sample(5, torch.Generator().manual_seed(3)), expected)

    @pytest.mark.parametrize("kind", KINDS)
    def test_samples_of_entries_are_thresholded(self, make, batch, kind):
        model = make("batchtopk", importance=kind, granularity="entry", **OPTIONS)
        model.loss(batch, 0)
        z = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
        center = model.center.read()
        score = {"abs_z": z.abs(), "abs_mu": z.abs(), "var_mu": (z - center) ** 2, "kl": z**2 / 2}[kind]
        expected = model.decode(z * (score >= model.threshold.read()))
        torch.testing.assert_close(model.sample(5, torch.Generator().manual_seed(3)), expected)

    @pytest.mark.parametrize("kind", KINDS)
    def test_batch_mask_is_the_training_rule_on_the_means(self, make, batch, kind):
        model = make("batchtopk", importance=kind, **OPTIONS)
        mu, logvar = posterior(model.encoder(batch.x))
        mask, _ = dimension_mask(slow_scores(kind, mu, logvar, mu), 3)
        assert torch.equal(model.batch_mask(batch.x), mask[0])
        torch.testing.assert_close(model.encode_masked(batch.x, mask[0]), torch.where(mask[0], mu, 0.0))

    def test_all_kept_is_the_beta_vae(self, make, batch):
        options = {"latent_dim": 12, "hidden": [16], "beta": 0.5}
        masked, plain = make("batchtopk", k=12, **options), make("beta_vae", **options)
        plain.load_state_dict(masked.state_dict(), strict=False)
        losses = []
        for model in (masked, plain):
            torch.manual_seed(2)
            losses.append(model.loss(batch, 0).total)
        assert torch.equal(*losses)

    def test_state_dict_round_trip_goes_on_to_the_same_average(self, make, batch):
        one, other = make("batchtopk", seed=0, **OPTIONS), make("batchtopk", seed=1, **OPTIONS)
        one.loss(batch, 0)
        other.load_state_dict(one.state_dict())
        for model in (one, other):
            torch.manual_seed(4)
            model.loss(batch, 1)
        assert torch.equal(one.importance_ema(), other.importance_ema())
        assert torch.equal(one.ema_mask(), other.ema_mask())

    @pytest.mark.parametrize("granularity", ["dimension", "entry"])
    def test_untrained_model_says_so(self, make, batch, granularity):
        model = make("batchtopk", granularity=granularity, **OPTIONS)
        with pytest.raises(UserError, match="train it first"):
            model.encode(batch.x)

    @pytest.mark.parametrize("ask", ["batch_mask", "ema_mask", "importance_ema"])
    def test_entries_have_no_mask_of_dimensions(self, make, batch, ask):
        model = make("batchtopk", granularity="entry", **OPTIONS)
        model.loss(batch, 0)
        with pytest.raises(UserError, match=r"use model\.granularity=dimension"):
            getattr(model, ask)(*([batch.x] if ask == "batch_mask" else []))
