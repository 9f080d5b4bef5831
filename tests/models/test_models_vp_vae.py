"""VP-VAE's perturbation and codebook, TokenBridge's bins, against slow loops and closed forms."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vaebench.errors import UserError
from vaebench.models import tokenbridge, vp_vae
from vaebench.nn.tokenizers.neighbours import Neighbours, nearest

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
AROUND = ("defaults", "_target_", "version", "data", "input_shape", "sample_rate", "codebook_size", "dim")


def make(*, size=64, dim=3, seed=0, **changes):
    """A quantiser as VP-VAE's YAML describes it, small by default."""
    options = {
        key: value
        for key, value in OmegaConf.to_container(OmegaConf.load(CONF / "vp_vae.yaml")).items()
        if key not in AROUND
    }
    torch.manual_seed(seed)
    return vp_vae.VectorPerturbation(codebook_size=size, dim=dim, **(options | changes))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def estimate_eta(quantiser: vp_vae.VectorPerturbation, *, seed: int, rounds: int, tokens: int) -> float:
    """How much longer quantisation's errors are than accepted moves of ``quantiser``, on latents ~ N(0, I).

    A scale to set ``eta`` by, as the authors' code does: ``rounds`` times ``tokens`` latents against centroids of a
    Gaussian queue; the errors and the moves of the accepted tokens only. Leaves quantiser and global generator alone.
    """
    errors, moves = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        queue = torch.randn(quantiser.queue.shape)
        codebook, _ = vp_vae._k_means(queue, quantiser.codebook_size, **quantiser.k_means, seed=seed)
        near = Neighbours(queue)
        for _ in range(rounds):
            z = torch.randn(tokens, quantiser.dim)
            move = quantiser.perturbed(z, near)
            errors.append((codebook[nearest(codebook, z)] - z).norm(dim=1)[move.accepted])
            moves.append(move.length[move.accepted])
    return float(torch.cat(errors).mean() / torch.cat(moves).mean())


def gaussian_move(size, dim, *, rate=16, count=4096, metropolis=True, eta=1.0):
    """The step on latents and queue ~ N(0, I), as the dossier's checks have it."""
    m = rate * dim
    near = Neighbours(draw(size * m, dim, seed=1))
    torch.manual_seed(2)
    z = draw(count, dim, seed=3)
    return z, vp_vae.perturb(z, near, k=8, m=m, eta=eta, metropolis=metropolis)


class TestPerturb:
    @pytest.mark.parametrize("eta", [1.0, 0.7, 1.4])
    @pytest.mark.parametrize("metropolis", [True, False])
    def test_is_the_loop(self, metropolis, eta):
        points, z = draw(300, 3, seed=1), draw(200, 3, seed=2)
        torch.manual_seed(7)
        move = vp_vae.perturb(z, Neighbours(points), k=8, m=20, eta=eta, metropolis=metropolis)
        torch.manual_seed(7)
        directions, lengths, draws = torch.randn(200, 3).tolist(), torch.rand(200).tolist(), torch.rand(200).tolist()

        def near(point, rank):
            return sorted(math.dist(point, other) for other in points.tolist())[rank - 1]

        accepted = 0
        for i, old in enumerate(z.tolist()):
            radius = eta * near(old, 20)
            length = radius * lengths[i] ** (1 / 3)
            norm = math.hypot(*directions[i])
            change = [length * value / norm for value in directions[i]]
            new = [a + b for a, b in zip(old, change, strict=True)]
            forward, back = 1 / radius**3, 1 / (eta * near(new, 20)) ** 3  # densities of the proposals
            density_old, density_new = near(old, 8) ** -3, near(new, 8) ** -3
            alpha = min(1.0, density_new * back / (density_old * forward))
            if length > eta * near(new, 20):
                alpha = 0.0
            keep = draws[i] < alpha or not metropolis
            assert bool(move.accepted[i]) == keep
            torch.testing.assert_close(move.change[i], torch.tensor(change) * keep, rtol=1e-4, atol=1e-6)
            assert float(move.radius[i]) == pytest.approx(radius, rel=1e-5)
            accepted += keep
        assert accepted == 200 if not metropolis else 60 < accepted < 180

    @pytest.mark.parametrize(("size", "dim", "rate"), [(256, 3, 0.66), (1024, 4, 0.62)])
    def test_acceptance_on_gaussians(self, size, dim, rate):
        _, move = gaussian_move(size, dim)
        assert float(move.accepted.float().mean()) == pytest.approx(rate, abs=0.02)
        assert float(move.supported.float().mean()) == pytest.approx(0.89, abs=0.02)
        assert float((move.length / move.radius).mean()) == pytest.approx(dim / (dim + 1), abs=0.01)
        assert float((move.length / move.radius).max()) <= 1

    def test_the_step_keeps_the_distribution_and_always_accepting_does_not(self):
        ratios = []
        for metropolis in (True, False):
            z, move = gaussian_move(256, 3, count=30000, metropolis=metropolis)
            ratios.append(float((z + move.change).var(dim=0).mean() / z.var(dim=0).mean()))
        assert ratios[0] == pytest.approx(1.0, abs=0.01)
        assert 1.035 < ratios[1] < 1.055

    def test_silence_neither_moves_nor_breaks(self):
        points = torch.cat([torch.zeros(100, 3), draw(50, 3)])
        z = torch.cat([torch.zeros(5, 3), draw(20, 3, seed=1)])
        move = vp_vae.perturb(z, Neighbours(points), k=8, m=20, eta=1.0, metropolis=True)
        assert move.change.isfinite().all()
        assert float(move.change[:5].abs().max()) < 1e-7
        assert float(move.change[5:].abs().max()) > 0.01

    @pytest.mark.slow
    @pytest.mark.parametrize(("size", "dim", "eta"), [(256, 3, 1.16), (1024, 4, 1.14)])
    def test_estimated_eta(self, size, dim, eta):
        quantiser = make(size=size, dim=dim)
        state = torch.get_rng_state()
        assert estimate_eta(quantiser, seed=0, rounds=20, tokens=1024) == pytest.approx(eta, abs=0.03)
        assert torch.equal(torch.get_rng_state(), state)


class TestQueue:
    def test_takes_in_chosen_tokens_as_a_ring(self):
        quantiser = make(size=16, update_rate=0.3).train()
        expected, place = quantiser.queue.clone(), 0
        for step in range(20):
            z = draw(200, 3, seed=step)
            torch.manual_seed(step)
            quantiser(z)
            torch.manual_seed(step)
            torch.randn(200, 3), torch.rand(200), torch.rand(200)
            for row in z[torch.rand(200) < 0.3]:
                expected[place] = row
                place = (place + 1) % len(expected)
        assert torch.equal(quantiser.queue, expected)
        assert int(quantiser.pointer) == place
        assert 20 * 200 * 0.3 > len(expected), "the ring must have gone round"

    def test_a_batch_larger_than_the_queue(self):
        quantiser = make(size=4, rate=4, update_rate=1.0).train()
        quantiser(draw(100, 3))
        assert torch.equal(quantiser.queue.roll(-int(quantiser.pointer), 0), draw(100, 3)[-48:])

    def test_neighbours_are_found_before_the_tokens_enter(self):
        quantiser = make(update_rate=1.0).train()
        z, queue = draw(100, 3), quantiser.queue.clone()
        torch.manual_seed(1)
        values = quantiser(z).values
        torch.manual_seed(1)
        move = vp_vae.perturb(z, Neighbours(queue), k=8, m=48, eta=1.0, metropolis=True)
        assert torch.equal(values, z + move.change)

    def test_a_stale_search_sees_the_queue_of_its_last_renewal(self):
        quantiser = make(tree_every=3, update_rate=0.5).train()
        for step in range(7):
            if step % 3 == 0:
                seen = quantiser.queue.clone()
            z = draw(100, 3, seed=step)
            torch.manual_seed(step)
            values = quantiser(z).values
            torch.manual_seed(step)
            move = vp_vae.perturb(z, Neighbours(seen), k=8, m=48, eta=1.0, metropolis=True)
            assert torch.equal(values, z + move.change)

    def test_a_diverged_token_stays_out(self):
        quantiser = make(update_rate=1.0).train()
        z = draw(50, 3)
        z[3, 1] = torch.nan
        assert quantiser(z).loss.isnan(), "the loop says so"
        assert quantiser.queue.isfinite().all()

    def test_gradient_is_that_of_z_and_the_norm_loss(self):
        quantiser = make(norm_weight=2.0).train()
        z = draw(400, 3).mul(1.5).requires_grad_()
        output = quantiser(z)
        assert output.indices is None
        (gradient,) = torch.autograd.grad(output.values.sum(), z, retain_graph=True)
        assert gradient.eq(1).all()
        expected = 2 * (0.1 * z.mean(0).square().sum() + 0.07 * (z.var(0) - 1).square().sum())
        torch.testing.assert_close(output.loss, expected)
        for found, slow in zip(torch.autograd.grad(output.loss, z), torch.autograd.grad(expected, z), strict=True):
            torch.testing.assert_close(found, slow)


class TestCodebook:
    @pytest.mark.parametrize(
        ("size", "dim", "expected"), [(256, 3, 0.88), pytest.param(1024, 4, 0.883, marks=pytest.mark.slow)]
    )
    def test_k_means_usage_on_gaussians(self, size, dim, expected):
        quantiser = make(size=size, dim=dim, codebook_iterations=30)
        quantiser.fit(draw(40000, dim), seed=0)
        indices = quantiser.eval()(draw(200000, dim, seed=1)).indices
        shares = torch.bincount(indices, minlength=size) / len(indices)
        found = float(torch.special.entr(shares).sum().exp() / size)
        assert found == pytest.approx(expected, abs=0.012)  # as in docs/papers/vpvae.md
        # Ever more centroids lie with density p^(d / (d + 2)), which makes it 0.847 and 0.866: no ceiling of so few.
        power = dim / (dim + 2)
        assert math.exp(power) * power ** (dim / 2) < found

    def test_fit_again_is_the_same_and_leaves_the_generator_alone(self):
        quantiser, latents, state = make(), draw(2000, 3), torch.get_rng_state()
        assert hasattr(quantiser, "fit")
        keys = list(quantiser.state_dict())
        books = []
        for seed in (3, 3, 4):
            quantiser.fit(latents, seed=seed)
            books.append(quantiser.codebook.clone())
        assert torch.equal(books[0], books[1])
        assert not torch.equal(books[0], books[2])
        assert bool(quantiser.fitted)
        assert list(quantiser.state_dict()) == keys
        assert torch.equal(torch.get_rng_state(), state)

    def test_centroids_are_the_means_of_their_latents(self):
        quantiser, latents = make(size=8, codebook_iterations=200), draw(1000, 3)
        quantiser.fit(latents, seed=0)
        indices = quantiser.eval()(latents).indices
        for j, centre in enumerate(quantiser.codebook):
            torch.testing.assert_close(latents[indices == j].mean(dim=0), centre, rtol=0, atol=0.02)

    def test_from_the_queue(self):
        quantiser = make(codebook_from="queue")
        quantiser.fit(draw(2000, 3) + 100, seed=0)
        assert float(quantiser.codebook.abs().max()) < 10

    def test_passes_latents_through_before_the_fit(self):
        z = draw(10, 3)
        output = make().eval()(z)
        assert torch.equal(output.values, z)
        assert output.indices is None

    def test_usage_of_changes_nothing(self):
        quantiser, latents = make(), draw(2000, 3)
        before, state = {k: v.clone() for k, v in quantiser.state_dict().items()}, torch.get_rng_state()
        one, other = quantiser.usage_of(latents, seed=1), quantiser.usage_of(latents, seed=1)
        assert torch.equal(one, other)
        assert one.shape == (2000,)
        assert len(one.unique()) == 64
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, before[key]) for key, value in quantiser.state_dict().items())

    def test_fewer_different_latents_than_codes(self):
        quantiser = make()
        quantiser.fit(draw(5, 3).repeat(40, 1), seed=0)
        assert len(quantiser.eval()(draw(5, 3)).indices.unique()) == 5

    def test_many_codes_are_made_in_batches_unless_it_says_lloyd(self, monkeypatch):
        def fitted(above, algorithm):
            monkeypatch.setattr(vp_vae, "_BATCHES_ABOVE", above)
            quantiser, latents = make(codebook_algorithm=algorithm), draw(3000, 3)
            quantiser.fit(latents, seed=0)
            error = (quantiser.eval()(latents).values - latents).square().sum(dim=1).mean()
            return quantiser.codebook, float(error)

        (batches, rough), (lloyd, fine) = fitted(64, "minibatch"), fitted(64, "lloyd")
        assert fine < rough < 1.1 * fine
        assert torch.equal(fitted(63, None)[0], batches)
        assert torch.equal(fitted(64, None)[0], lloyd)
        assert torch.equal(fitted(63, "lloyd")[0], lloyd)

    def test_too_few_latents(self):
        with pytest.raises(UserError, match=r"model\.codebook_size=64: there are only 63 latents"):
            make().fit(draw(63, 3), seed=0)


class TestOptions:
    @pytest.mark.parametrize(("rate", "length", "m", "queue"), [(16, None, 48, 3072), (None, 1000, 16, 1000)])
    def test_queue_and_neighbours(self, rate, length, m, queue):
        quantiser = make(rate=rate, queue_length=length)
        assert (quantiser.m, len(quantiser.queue)) == (m, queue)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rate": 2}, r"model\.density_neighbour=8: expected 1 to 5, below the 6 neighbours per code; raise model"),
            ({"rate": None, "queue_length": 512}, r"model\.density_neighbour=8: expected 1 to 7"),
            ({"queue_length": 1000}, r"model\.rate=16, model\.queue_length=1000: give one of them"),
            ({"rate": None}, r"model\.rate=None, model\.queue_length=None: give one of them"),
            ({"rate": 0}, r"model\.rate=0: expected a finite number above 0"),
            ({"rate": None, "queue_length": 5}, r"model\.queue_length=5: expected a whole number, at least 64"),
            ({"eta": 0}, r"model\.eta=0: expected a finite number above 0"),
            ({"update_rate": 1.2}, r"model\.update_rate=1\.2: expected a number, 0 to 1"),
            ({"norm_weight": -1}, r"model\.norm_weight=-1: expected a finite number, at least 0"),
            ({"norm_over": "max"}, r"unknown model\.norm_over 'max'"),
            ({"tree_every": 0}, r"model\.tree_every=0: expected a whole number, at least 1"),
            ({"codebook_from": "test"}, r"unknown model\.codebook_from 'test'.*queue, train"),
            ({"codebook_algorithm": "elkan"}, r"unknown model\.codebook_algorithm 'elkan'.*lloyd, minibatch"),
            ({"codebook_latents": 63}, r"model\.codebook_latents=63: expected a whole number, at least 64"),
        ],
    )
    def test_mistakes(self, options, message):
        with pytest.raises(UserError, match=message):
            make(**options)

    def test_mistakes_are_shown_together(self):
        with pytest.raises(UserError) as caught:
            make(eta=-1, update_rate=2, rate=0)
        assert len(caught.value.lines) == 3


class TestTokenBridge:
    @pytest.mark.parametrize("bins", [2, 4, 7])
    def test_bin_means_are_the_integrals(self, bins):
        edges, centres = tokenbridge.percentile_bins(bins)
        x = torch.linspace(-9, 9, 2_000_001, dtype=torch.float64)
        density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
        for low, high, centre in zip(edges[:-1], edges[1:], centres, strict=True):
            inside = (x >= low) & (x < high)
            mass = torch.trapezoid(density[inside], x[inside])
            assert float(mass) == pytest.approx(1 / bins, abs=1e-5)
            assert float(torch.trapezoid((x * density)[inside], x[inside]) / mass) == pytest.approx(
                float(centre), abs=2e-5
            )

    @pytest.mark.parametrize(("size", "dim"), [(64, 3), (256, 4), (1024, 5), (4096, 6), (16384, 7)])
    def test_width_of_a_size(self, size, dim):
        quantiser = tokenbridge.PercentileBins(codebook_size=size, dim=None, bins=4, kl_weight=0)
        assert quantiser.dim == dim

    def test_latents_of_the_prior_use_all_codes_alike(self):
        quantiser = tokenbridge.PercentileBins(codebook_size=64, dim=3, bins=4, kl_weight=1e-3).eval()
        indices = quantiser(draw(64000, 6)).indices
        shares = torch.bincount(indices, minlength=64) / 64000
        assert float(torch.special.entr(shares).sum().exp() / 64) > 0.999

    def test_bins_are_the_loop(self):
        quantiser = tokenbridge.PercentileBins(codebook_size=16, dim=2, bins=4, kl_weight=1e-3).eval()
        z = draw(200, 4)
        output = quantiser(z)
        for row, index in zip(z[:, :2].tolist(), output.indices.tolist(), strict=True):
            levels = [int(4 * 0.5 * (1 + math.erf(value / math.sqrt(2)))) for value in row]
            assert index == levels[0] + 4 * levels[1]

    def test_training_is_the_gaussian_vae(self):
        quantiser = tokenbridge.PercentileBins(codebook_size=64, dim=3, bins=4, kl_weight=0.5).train()
        z = draw(100, 6)
        torch.manual_seed(1)
        output = quantiser(z)
        torch.manual_seed(1)
        mu, logvar = z[:, :3], z[:, 3:]
        torch.testing.assert_close(output.values, mu + torch.randn(100, 3) * (logvar / 2).exp())
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum() / 100
        torch.testing.assert_close(output.loss, 0.5 * kl)
        assert output.indices is None

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"codebook_size": 300}, r"model\.codebook_size=300: is no power of model\.bins=4"),
            ({"bins": 1}, r"model\.bins=1: expected a whole number, at least 2"),
            ({"dim": 0}, r"model\.dim=0: expected a whole number, at least 1"),
            ({"kl_weight": -1}, r"model\.kl_weight=-1: expected a finite number, at least 0"),
        ],
    )
    def test_mistakes(self, changed, message):
        with pytest.raises(UserError, match=message):
            tokenbridge.PercentileBins(**{"codebook_size": 64, "dim": None, "bins": 4, "kl_weight": 0} | changed)
