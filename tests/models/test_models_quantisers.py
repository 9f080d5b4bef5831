"""The quantisers alone, against slow loops, closed forms and peers; as tokenizers they are in test_models_all.py."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vaebench.errors import UserError
from vaebench.models import fsp, fsq, simvq, tokenbridge, vp_vae, vq_ema, vq_vae
from vaebench.nn.tokenizers.quantise import LEVELS

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
METHODS = ["vq_vae", "vq_ema", "simvq", "fsq", "fsq_standard", "tokenbridge", "fsp", "vp_vae", "vp_vae_stale"]
SIZES = [256, 1024, 4096, 16384]
AROUND = ("defaults", "_target_", "version", "data", "needs", "extra", "input_shape", "sample_rate", "codebook_size")
KINDS = {
    "vq_vae": vq_vae.LearnedCodebook,
    "vq_ema": vq_ema.AveragedCodebook,
    "simvq": simvq.LinearCodebook,
    "fsq": fsq.levels_of,
    "tokenbridge": tokenbridge.PercentileBins,
    "fsp": fsp.ScalarPerturbation,
    "vp_vae": vp_vae.VectorPerturbation,
}
VARIANTS = {"fsq_standard": ("fsq", {"variant": "standard"}), "vp_vae_stale": ("vp_vae", {"tree_every": 3})}


def make(method, *, size=64, seed=0, **changes):
    """The quantiser of a method as its YAML describes it, small by default."""
    name, variant = VARIANTS.get(method, (method, {}))
    leaf = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    options = {key: value for key, value in leaf.items() if key not in AROUND} | variant | changes
    torch.manual_seed(seed)
    return KINDS[name](codebook_size=size, **options)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ready(method, **changes):
    """A quantiser whose codes exist, in eval mode."""
    quantiser = make(method, **changes)
    quantiser(draw(500, quantiser.inputs))
    if hasattr(quantiser, "fit"):
        quantiser.fit(draw(500, quantiser.inputs), seed=0)
    return quantiser.eval()


@pytest.mark.parametrize("method", METHODS)
class TestAll:
    def test_eval_gives_codes_and_codes_give_eval(self, method):
        quantiser = ready(method)
        output = quantiser(draw(300, quantiser.inputs, seed=1))
        assert output.values.shape == (300, quantiser.dim)
        assert output.values.dtype == torch.float32
        assert output.indices.dtype == torch.int64
        assert 0 <= int(output.indices.min()) <= int(output.indices.max()) < quantiser.codebook_size
        assert len(output.indices.unique()) > 15
        assert torch.equal(quantiser.codes(output.indices), output.values)
        few = output.indices[7:12]
        assert torch.equal(quantiser.codes(few), output.values[7:12])
        assert float(output.loss) == 0

    def test_eval_is_deterministic_and_changes_nothing(self, method):
        quantiser = ready(method)
        before = {name: value.clone() for name, value in quantiser.state_dict().items()}
        z = draw(100, quantiser.inputs, seed=1)
        state = torch.get_rng_state()
        one, other = quantiser(z), quantiser(z)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(one.values, other.values)
        assert all(torch.equal(value, before[name]) for name, value in quantiser.state_dict().items())

    def test_training_has_a_gradient_and_a_finite_loss(self, method):
        quantiser = make(method).train()
        z = draw(400, quantiser.inputs).requires_grad_()
        output = quantiser(z)
        ((output.values + 3).square().sum() + output.loss).backward()
        assert z.grad.isfinite().all()
        assert z.grad.ne(0).any(dim=1).float().mean() > 0.99
        assert output.loss.shape == ()
        for value in output.info.values():
            assert value.shape == ()
            assert not value.requires_grad

    def test_float32_under_autocast(self, method):
        quantiser = make(method).train()
        z = draw(400, quantiser.inputs).bfloat16()
        results = []
        for enabled in (True, False):
            torch.manual_seed(3)
            fresh = make(method).train()
            fresh.load_state_dict(quantiser.state_dict())
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                torch.manual_seed(4)
                results.append(fresh(z))
        assert results[0].values.dtype == torch.float32
        assert torch.equal(results[0].values, results[1].values)
        assert torch.equal(results[0].loss, results[1].loss)

    def test_resumes_to_the_same_bits(self, method):
        def steps(quantiser, numbers):
            return [quantiser(draw(200, quantiser.inputs, seed=number)).values for number in numbers]

        one, other = make(method).train(), make(method, seed=9).train()
        steps(other, range(20, 24))
        steps(one, range(4))
        saved, random = {key: value.clone() for key, value in one.state_dict().items()}, torch.get_rng_state()
        expected = steps(one, range(4, 9))
        other.load_state_dict(saved)
        torch.set_rng_state(random)
        for found, wanted in zip(steps(other, range(4, 9)), expected, strict=True):
            assert torch.equal(found, wanted)
        for key, value in other.state_dict().items():
            assert torch.equal(value, one.state_dict()[key]), key

    def test_sizes(self, method):
        for size in [64] if method == "fsq_standard" else [64, 256]:
            quantiser = make(method, size=size)
            real = math.prod(LEVELS[size]) if method.startswith("fs") else size
            assert (quantiser.codebook_size, quantiser.nominal_size) == (real, size)


class TestVqVae:
    def test_loss_and_gradients_are_the_loop(self):
        quantiser = make("vq_vae", beta=0.3)
        with torch.no_grad():
            quantiser.codebook.copy_(draw(64, 3, seed=2))
        z = draw(50, 3).requires_grad_()
        output = quantiser(z)
        chosen = [min(range(64), key=lambda j: float((row - quantiser.codebook[j]).detach().norm())) for row in z]
        assert output.indices.tolist() == chosen
        loss = 0
        for row, j in zip(z, chosen, strict=True):
            e = quantiser.codebook[j]
            loss = loss + ((row.detach() - e) ** 2).sum() + 0.3 * ((row - e.detach()) ** 2).sum()
        loss = loss / z.numel()
        torch.testing.assert_close(output.loss, loss)
        found, slow = (torch.autograd.grad(value, [z, quantiser.codebook]) for value in (output.loss, loss))
        torch.testing.assert_close(found, slow)
        (gradient,) = torch.autograd.grad(quantiser(z).values.sum(), z)
        assert gradient.eq(1).all()

    def test_codes_start_within_1_over_the_size(self):
        codebook = make("vq_vae", size=256).codebook.detach()
        assert 0.95 / 256 < float(codebook.abs().max()) <= 1 / 256

    def test_simvq_loss_is_the_loop(self):
        quantiser = make("simvq", beta=0.3)
        z = draw(50, 3)
        output = quantiser(z)
        codebook = quantiser.library.code_transform(quantiser.library.frozen_codebook).detach()
        loss = 0.0
        for row, index in zip(z, output.indices, strict=True):
            distances = (codebook - row).square().sum(dim=1)
            assert int(index) == int(distances.argmin())
            loss += 1.3 * float(distances.min())
        assert float(output.loss.detach()) == pytest.approx(loss / z.numel(), rel=1e-5)
        assert [name for name, _ in quantiser.named_parameters()] == [
            "library.code_transform.weight",
            "library.code_transform.bias",
        ]

    def test_ema_codebook_moves_to_its_tokens(self):
        quantiser = make("vq_ema", kmeans_init=False, reset_below=0, decay=0.9)
        z = draw(300, 3)
        before = {name: value.clone() for name, value in quantiser.library._codebook.state_dict().items()}
        indices = quantiser(z).indices
        counts, sums = before["cluster_size"][0] * 0.9, before["embed_avg"][0] * 0.9
        for row, index in zip(z, indices.tolist(), strict=True):
            counts[index] += 0.1
            sums[index] += 0.1 * row
        smooth = (counts + 1e-5) / (counts.sum() + 64e-5) * counts.sum()
        torch.testing.assert_close(quantiser.codes(torch.arange(64)), sums / smooth[:, None])

    def test_ema_before_training_says_so(self):
        with pytest.raises(UserError, match="train it first"):
            make("vq_ema").eval()(draw(5, 3))


class TestFsq:
    @pytest.mark.parametrize(("size", "cap"), [(256, 0.880), (1024, 0.832), (4096, 0.788), (16384, 0.821)])
    def test_symmetric_usage_and_error_of_uniform_scalars(self, size, cap):
        quantiser = make("fsq", size=size).eval()
        entropy = 0.0
        for place, count in enumerate(quantiser.levels):
            y = (torch.arange(40000 * count, dtype=torch.float64) + 0.5) / (40000 * count)
            z = torch.zeros(len(y), quantiser.dim)
            z[:, place] = torch.atanh(2 * y - 1).float()
            values = (quantiser(z).values[:, place].double() + 1) / 2
            error = float((values - y).square().mean())
            assert error == pytest.approx(1 / (12 * (count - 1) ** 2), rel=2e-3)
            shares = values.unique(return_counts=True)[1] / len(y)
            entropy -= float((shares * shares.log()).sum())
        assert math.exp(entropy) / quantiser.codebook_size == pytest.approx(cap, abs=6e-4)

    def test_noise_is_the_published_rule(self):
        quantiser = make("fsq", size=256, noise=0.5)
        z = draw(4000, 3).requires_grad_()
        values = quantiser(z).values
        a, y = (z.detach().tanh() + 1) / 2, (values.detach() + 1) / 2
        counts = torch.tensor([8.0, 6.0, 5.0])
        exact = (y - (a * (counts - 1)).round() / (counts - 1)).abs() < 1e-6
        assert float(exact.float().mean()) == pytest.approx(0.5, abs=0.02)
        offsets = ((y - a) * (counts - 1)).masked_fill(exact, math.nan)
        for offset in offsets.T:  # in distances of two codes, of each dimension by itself
            noise = offset[~offset.isnan()]
            assert 0.49 < float(noise.abs().max()) < 0.5001
            assert float(noise.var()) == pytest.approx(1 / 12, rel=0.06)
        (gradient,) = torch.autograd.grad(values.sum(), z)
        torch.testing.assert_close(gradient, 1 - z.detach().tanh() ** 2)

    @pytest.mark.parametrize("noise", [0.5, 0.2])
    def test_noise_can_be_drawn_per_item(self, noise):
        quantiser = make("fsq", size=256, noise=noise, mixture="item")
        z, steps = draw(3000 * 4, 3), torch.tensor([7.0, 5.0, 4.0])
        a, y = (z.tanh() + 1) / 2, (quantiser(z, items=3000).values + 1) / 2
        moved = ((y - a) * steps).view(3000, 12)
        raw = moved.abs().amax(dim=1) < 1e-5
        rounded = ((a * steps).round() - y * steps).view(3000, 12).abs().amax(dim=1) < 1e-5
        assert not (raw & rounded).any()
        for kind in (raw, rounded):
            assert float(kind.float().mean()) == pytest.approx((1 - noise) / 2, abs=0.03)
        offsets = moved[~raw & ~rounded]
        assert 0.49 < float(offsets.abs().max()) < 0.5001
        assert float(offsets.var()) == pytest.approx(1 / 12, rel=0.05)

    def test_without_noise_is_the_library(self):
        from vector_quantize_pytorch import FSQ

        library, quantiser = FSQ([8, 6, 5], preserve_symmetry=True), make("fsq", size=256, noise=0.0)
        z = draw(500, 3)
        values, indices = library(z[None])
        torch.testing.assert_close(quantiser(z).values, values[0])
        assert torch.equal(quantiser(z).indices, indices[0].long())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"noise": 1.5}, r"model\.noise=1\.5: expected a number, 0 to 1"),
            ({"mixture": "batch"}, r"model\.mixture.*batch"),
        ],
    )
    def test_mistakes(self, options, message):
        with pytest.raises(UserError, match=message):
            make("fsq", **options)

    def test_standard_wants_three_levels(self):
        with pytest.raises(UserError, match=r"model\.levels=\[2, 32\].*use model\.variant=symmetric"):
            make("fsq_standard", levels=[2, 32])


class TestFsp:
    @pytest.mark.parametrize("invert", [False, True])
    @pytest.mark.parametrize("activation", list(fsp.ACTIVATIONS))
    def test_is_the_library(self, activation, invert):
        from vector_quantize_pytorch import FSP

        norm = {"normal": "var", "cauchy": "none"}.get(activation, f"var_{activation}")
        library = FSP([8, 5, 5, 5], act_name=activation, vector_norm=norm, need_inv_act=invert, quantize_rate=1.0)
        weight = 0.0 if activation == "cauchy" else 1.0
        changes = {"norm_weight": weight, "norm_over": "mean", "quantise_rate": 1.0}
        quantiser = make("fsp", size=1024, activation=activation, invert=invert, **changes)
        z, other = (draw(800, 4).mul(1.3).requires_grad_() for _ in range(2))
        values, indices, loss, _ = library(z)
        output = quantiser(other)
        assert torch.equal(output.indices, indices.long())
        torch.testing.assert_close(output.values, values, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.loss, loss, rtol=1e-4, atol=1e-4)
        expected = torch.autograd.grad(values.sin().sum() + loss, z)
        torch.testing.assert_close(torch.autograd.grad(output.values.sin().sum() + output.loss, other), expected)
        torch.testing.assert_close(
            quantiser.codes(output.indices), library.indices_to_codes(indices), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize("size", SIZES)
    def test_usage_and_error_of_uniform_scalars(self, size):
        quantiser = make("fsp", size=size, activation="normal").eval()
        for place, count in enumerate(quantiser.levels):
            y = (torch.arange(8000 * count, dtype=torch.float64) + 0.5) / (8000 * count)
            z = torch.zeros(len(y), quantiser.dim)
            z[:, place] = torch.special.ndtri(y).float()
            values = quantiser(z).values[:, place].double() * math.sqrt(1 / 12) + 0.5
            assert float((values - y).square().mean()) == pytest.approx(1 / (12 * count**2), rel=1e-3)
            shares = values.unique(return_counts=True)[1] / len(y)
            assert math.exp(-float((shares * shares.log()).sum())) / count == pytest.approx(1.0, abs=1e-4)

    @pytest.mark.parametrize("activation", ["tanh", "sigmoid", "normal", "laplace"])
    def test_the_target_is_the_variance_of_the_distribution(self, activation):
        y = (torch.arange(400000, dtype=torch.float64) + 0.5) / 400000
        distribution = fsp.ACTIVATIONS[activation]
        assert float(distribution.inverse(y).var()) == pytest.approx(distribution.variance, rel=2e-3)

    @pytest.mark.parametrize("activation", list(fsp.ACTIVATIONS))
    def test_inverses(self, activation):
        y = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
        distribution = fsp.ACTIVATIONS[activation]
        torch.testing.assert_close(distribution.g(distribution.inverse(y)), y)

    @pytest.mark.parametrize("accept", ["coordinate", "vector"])
    @pytest.mark.parametrize("eta", [1.0, 0.5])
    def test_perturbation_is_the_loop(self, accept, eta):
        quantiser = make("fsp", size=256, accept=accept, eta=eta, quantise_rate=0.0)
        z = draw(300, 3).mul(1.5)
        torch.manual_seed(6)
        output = quantiser(z)
        torch.manual_seed(6)
        uniform = torch.rand(300, 3)
        accepted = 0
        for i, row in enumerate(z.tolist()):
            y = [(math.tanh(value) + 1) / 2 for value in row]
            moved = [
                v + (float(uniform[i, j]) - 0.5) * eta / count
                for j, (v, count) in enumerate(zip(y, (8, 6, 5), strict=True))
            ]
            inside = [0 <= value <= 1 for value in moved]
            if accept == "vector":
                inside = [all(inside)] * 3
            accepted += sum(inside)
            expected = [((m if ok else v) - 0.5) * math.sqrt(12) for m, v, ok in zip(moved, y, inside, strict=True)]
            torch.testing.assert_close(output.values[i], torch.tensor(expected), rtol=1e-4, atol=1e-5)
        assert float(output.info["acceptance"]) == pytest.approx(accepted / 900)
        assert 0.5 < accepted / 900 < 1

    @pytest.mark.parametrize("mixture", ["element", "forward"])
    def test_mixture(self, mixture):
        quantiser = make("fsp", size=256, mixture=mixture, quantise_rate=0.3)
        z, shares = draw(400, 3), []
        codes = quantiser.eval()(z).values
        for _ in range(60):
            shares.append(float((quantiser.train()(z).values - codes).abs().lt(1e-5).float().mean()))
        assert sum(shares) / 60 == pytest.approx(0.3, abs=0.02 if mixture == "element" else 0.2)
        assert all(share < 0.01 or share == 1 for share in shares) == (mixture == "forward")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"activation": "relu"}, r"unknown model\.activation 'relu'.*cauchy, laplace, normal"),
            ({"activation": "cauchy"}, r"model\.activation=cauchy.*set model\.variance_weight=0"),
            ({"eta": 0.0}, r"model\.eta=0\.0: expected a finite number above 0"),
            ({"quantise_rate": -0.1}, r"model\.quantise_rate=-0\.1: expected a number, 0 to 1"),
            ({"accept": "all"}, r"unknown model\.accept 'all'"),
            ({"mixture": "batch"}, r"unknown model\.mixture 'batch'"),
            ({"norm_over": "max"}, r"unknown model\.norm_over 'max'"),
        ],
    )
    def test_mistakes(self, options, message):
        with pytest.raises(UserError, match=message):
            make("fsp", **options)


@pytest.mark.parametrize("name", ["vq_vae", "vq_ema", "simvq", "fsq", "tokenbridge", "fsp", "vp_vae"])
def test_what_was_before_the_codes_is_in_the_terms_of_the_codes(make, name):
    """A token that lies on a code in the decoder's terms is that code, and others lie nearer to it than to the mean."""
    model = make(name, codebook_size=64, **({"rate": 4, "codebook_latents": 500} if name == "vp_vae" else {}))
    quantiser = model.quantiser
    z = torch.randn(500, quantiser.inputs, generator=torch.Generator().manual_seed(0))
    quantiser.train()
    quantiser(z)
    if name == "vp_vae":
        quantiser.fit(z, seed=0)
    quantiser.eval()
    found = quantiser(z)
    assert found.continuous.shape == found.values.shape
    errors = (found.values - found.continuous).square().sum(1)
    if name in ("vq_vae", "vq_ema", "simvq", "vp_vae"):
        codes = quantiser.codes(torch.arange(64))
        assert torch.allclose(errors, torch.cdist(found.continuous, codes).square().min(1).values, atol=1e-5)
        assert torch.equal(found.continuous, z)
    else:  # a grid: no code lies further than a bin
        assert float(errors.mean()) < float(found.continuous.var(0).sum())
