from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import nn

from vaebench.contracts import Batch, Finishes, LooksAtData, Reconstructs, Tokenizes, Watches
from vaebench.errors import UserError
from vaebench.nn.sampling import own_draws, spread
from vaebench.nn.tokenizers.autoencoders import build
from vaebench.nn.tokenizers.quantise import Quantised
from vaebench.nn.tokenizers.tokenizer import Tokenizer

CPU = torch.device("cpu")
CONV = {"kind": "conv", "width": 8, "groups": 2, "perceptual": 0.0}
MEL = {"kind": "mel", "width": 8, "groups": 2, "n_fft": 64, "hop": 16, "bands": 8, "floor": 1e-4, "griffin_lim": 2}


class Signs(nn.Module):
    """Codes are the signs of two numbers; in training noise is added instead."""

    inputs, dim, codebook_size, nominal_size = 2, 2, 4, 5

    def forward(self, z):
        assert z.dtype == torch.float32
        assert z.ndim == 2
        assert not torch.is_autocast_enabled("cpu")
        if self.training:
            return Quantised(z + 0.1 * torch.randn_like(z), None, z.square().mean(), {"size": z.detach().abs().mean()})
        indices = (z > 0).long() @ torch.tensor([1, 2])
        return Quantised(self.codes(indices), indices, z.new_zeros(()))

    def codes(self, indices):
        return torch.stack((indices % 2, indices // 2), dim=1).float() * 2 - 1


class Fitted(Signs):
    """Codes that are fitted: it keeps what it was given."""

    codebook_latents = 50

    def __init__(self, codebook_size=4):
        super().__init__()
        self.codebook_size = codebook_size
        self.given = []

    def fit(self, latents, *, seed):
        self.given.append((latents, seed, self.training))

    def usage_of(self, latents, *, seed):
        return torch.arange(len(latents)) % 3


@dataclass
class Data:
    """Training items that note which were asked for; with ``noisy`` a batch is drawn, as crops of audio are."""

    x: torch.Tensor
    noisy: bool = False
    name: str = "blobs"
    device: torch.device = CPU

    def __post_init__(self):
        self.rows = []

    def __len__(self):
        return len(self.x)

    def batch(self, rows):
        self.rows.append(rows)
        x = self.x[rows]
        return Batch(x + 0.01 * torch.rand_like(x) if self.noisy else x, rows)


def images(count=40, seed=0):
    return torch.rand(count, 1, 8, 12, generator=torch.Generator().manual_seed(seed))


def tokenizer(quantiser=None, seed=0):
    torch.manual_seed(seed)
    autoencoder = build(CONV, input_shape=(1, 8, 12), sample_rate=None)
    return Tokenizer(autoencoder, Signs() if quantiser is None else quantiser)


def speech(quantiser=None):
    torch.manual_seed(0)
    return Tokenizer(build(MEL, input_shape=(1, 160), sample_rate=8000), Signs() if quantiser is None else quantiser)


def test_the_steps_of_the_pipeline():
    model = tokenizer().eval()
    x = images(3)
    with torch.no_grad():
        h = model.autoencoder.encode(2 * x - 1)
        code, tokens = model.encode(x), model.tokenize(x)
        for item in range(3):
            for row in range(2):
                for column in range(3):
                    z = model.down.weight @ h[item, :, row, column] + model.down.bias
                    torch.testing.assert_close(code[item, :, row, column], z.sign())
                    assert int(tokens[item, row, column]) == int(z[0] > 0) + 2 * int(z[1] > 0)
        raised = torch.einsum("cd,bdhw->bchw", model.up.weight, code) + model.up.bias[:, None, None]
        torch.testing.assert_close(model.decode(code), (model.autoencoder.decode(raised) / 2 + 0.5).clamp(0, 1))
    assert (model.codebook_size, model.nominal_size) == (4, 5)


def test_it_can_what_it_says():
    model = tokenizer()
    for capability in (Finishes, LooksAtData, Reconstructs, Tokenizes, Watches):
        assert isinstance(model, capability)


def test_one_phase_has_all_that_learns():
    model = tokenizer()
    model.down.bias.requires_grad_(False)
    (phase,) = model.phases
    assert phase.name == "tokenizer"
    assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()} - {id(model.down.bias)}


def test_the_loss_is_the_sum():
    model = tokenizer()
    batch = Batch(images(4), torch.zeros(4))
    output = model.loss(batch, 0)
    assert set(output.terms) == {"l1", "auxiliary", "size"}
    torch.testing.assert_close(output.total.detach(), output.terms["l1"] + output.terms["auxiliary"])
    output.total.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("make", [tokenizer, speech])
def test_autocast_leaves_tokens_and_targets_in_float32(make):
    model = make()
    x = images(2) if make is tokenizer else torch.rand(2, 1, 160) - 0.5
    with torch.autocast("cpu", torch.bfloat16):
        output = model.loss(Batch(x, torch.zeros(2)), 0)
        assert model._target(x).dtype == torch.float32
        model.eval()
        assert model.encode(x).dtype == model.decode(model.encode(x)).dtype == torch.float32
    assert output.total.dtype == torch.float32
    output.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_tokens_come_back_to_the_bit():
    model = tokenizer().eval()
    with torch.no_grad():
        assert torch.equal(model.detokenize(model.tokenize(images())), model.decode(model.encode(images())))


def test_tokens_without_codes_are_refused():
    with pytest.raises(UserError, match="Signs has no codes yet: they are fitted at the end of a training"):
        tokenizer().tokenize(images(2))


def test_log_mel_is_what_a_mel_decoder_says():
    model = speech().eval()
    x = torch.rand(2, 1, 170) - 0.5
    model.autoencoder.mean.fill_(-1.5)
    model.autoencoder.std.fill_(0.5)
    with torch.no_grad():
        code = model.encode(x)
        assert code.shape == (2, 2, 11)
        decoded = model._decoded(code.movedim(1, -1).reshape(-1, 2), (11,))
        torch.testing.assert_close(model.decode_log_mel(code), decoded * 0.5 - 1.5)
        assert model.decode(code).shape == (2, 1, 176)
        assert model.tokenize(x).shape == (2, 11)
        assert tokenizer().eval().decode_log_mel(torch.zeros(1, 2, 2, 3)) is None


def test_watch_counts_codes_of_spread_items():
    model = tokenizer()
    data = Data(images(1000))
    found = model.watch(data)
    rows = torch.cat(data.rows)
    assert len(rows) == 512
    assert all(len(part) == 64 for part in data.rows)
    assert rows.tolist() == [i * 1000 // 512 for i in range(512)]
    with torch.no_grad():
        counts = torch.bincount(model.eval().tokenize(data.x[rows]).flatten(), minlength=4).double()
    shares = counts / counts.sum()
    entropy = -sum(float(p) * float(p.log()) for p in shares if p > 0)
    assert found["usage"] == float((counts > 0).double().mean())
    assert found["cvu"] == pytest.approx(torch.tensor(entropy).exp().item() / 4, rel=1e-4)


@pytest.mark.parametrize("quantiser", [Signs, Fitted])
def test_watch_leaves_no_trace(quantiser):
    model = tokenizer(quantiser())
    data = Data(images(), noisy=True)
    state = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        first = model.watch(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in model.modules())
    assert all(p.grad is None for p in model.parameters())
    torch.manual_seed(77)
    assert model.watch(data) == first
    model.eval()
    model.watch(data)
    assert not any(part.training for part in model.modules())


def test_watch_of_codes_that_are_fitted_at_the_end():
    model = tokenizer(Fitted())
    found = model.watch(Data(images()))
    assert found["usage"] == 0.75
    assert found["cvu"] == pytest.approx(0.75)
    assert model.quantiser.given == []
    assert tokenizer(Fitted(1000)).watch(Data(images(3))) == {}
    model.down.bias.data.fill_(float("nan"))
    assert model.watch(Data(images())) == {}


@pytest.mark.parametrize("quantiser", [Signs, Fitted])
def test_tokens_that_are_not_finite_have_no_code(quantiser):
    model = tokenizer(quantiser())
    model.down.bias.data[0] = float("nan")
    assert model.watch(Data(images())) == {}
    assert not model.loss(Batch(images(4), torch.zeros(4)), 0).total.isfinite()  # the loop says where
    if quantiser is Fitted:
        with pytest.raises(UserError, match="tokens hold NaN or infinity"):
            model.finish(Data(images()))
    model.eval()
    for ask in (model.tokenize, model.encode, model.encode_both):
        with pytest.raises(UserError, match="tokens hold NaN or infinity: the model has diverged"):
            ask(images(2))


def test_a_quantiser_that_sees_items_is_told_how_many_there_are():
    class Seeing(Signs):
        per_item = True

        def forward(self, z, items=None):
            self.seen = len(z), items
            return super().forward(z)

    model = tokenizer(Seeing())
    model.loss(Batch(images(4), torch.zeros(4)), 0)
    assert model.quantiser.seen == (4 * 6, 4)


def test_finish_gives_latents_of_spread_items():
    model = tokenizer(Fitted())
    data = Data(images(100), noisy=True)
    state = torch.get_rng_state()
    model.finish(data)
    model.finish(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in model.modules())
    (latents, seed, training), (again, *_) = model.quantiser.given
    assert latents.shape == (50, 2)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    assert (seed, training) == (0, True)
    assert torch.equal(latents, again)
    # 6 tokens an item: 50 latents are 9 items' worth; twice as many are looked at.
    assert torch.cat(data.rows[1:2]).tolist() == [i * 100 // 17 for i in range(17)]


def test_finish_takes_all_there_is():
    model = tokenizer(Fitted()).eval()
    x = images(5)
    model.finish(Data(x))
    ((latents, _, _),) = model.quantiser.given
    with torch.no_grad():
        expected = model._tokens(model._target(x))[0]
    assert latents.shape == (30, 2)
    torch.testing.assert_close(latents.sort(dim=0).values, expected.sort(dim=0).values)
    assert not torch.equal(latents, expected)


def test_finish_without_a_fit_looks_at_nothing():
    data = Data(images())
    tokenizer().finish(data)
    assert data.rows == []


@pytest.mark.parametrize("step", ["look", "finish"])
def test_more_codes_than_tokens_are_refused(step):
    model = tokenizer(Fitted(100))
    line = r"model.codebook_size=100: blobs has only 18 training tokens to fit so many codes to; use a smaller codebook"
    with pytest.raises(UserError, match=line):
        getattr(model, step)(Data(images(3)))


def test_look_is_the_autoencoders():
    model = speech(Fitted())
    model.look(Data(torch.rand(20, 1, 160) - 0.5))
    assert float(model.autoencoder.std) != 1
    images_only = Data(images())
    tokenizer().look(images_only)
    assert images_only.rows == []


@pytest.mark.parametrize(("items", "count"), [(10, 3), (3, 10), (7, 7), (1, 1), (60000, 512)])
def test_spread_is_even_and_whole(items, count):
    rows = spread(items, count, torch.device("cpu")).tolist()
    assert len(rows) == min(items, count)
    assert rows[0] == 0
    assert rows[-1] < items
    gaps = {after - before for before, after in pairwise(rows)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_own_draws_are_constant_and_leave_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with own_draws():
        first = torch.rand(2)
    with own_draws():
        assert torch.equal(torch.rand(2), first)
    with pytest.raises(ZeroDivisionError), own_draws():
        torch.rand(2) / (0 // 0)
    assert torch.equal(torch.rand(2), expected)
