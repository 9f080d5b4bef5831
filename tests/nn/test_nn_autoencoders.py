import hashlib
import importlib.util
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.nn.pretrained import lpips, whisper
from vaebench.nn.tokenizers.autoencoders import build

CONF = Path(__file__).resolve().parents[2] / "conf" / "autoencoder"
SMALL = {
    "conv": {"width": 8, "groups": 2},
    "vqgan": {"channels": 8, "groups": 4, "width": 16, "perceptual": 0.0},
    "mel": {"width": 8, "groups": 2},
    "codec": {"channels": [2, 4, 4, 6], "width": 8},
    "sqcodec": {"channels": [2, 4, 4, 6], "width": 8},
}
FILES = sorted(SMALL)
AUDIO = ("mel", "codec", "sqcodec")
needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers")
KINDS = [pytest.param(name, marks=needs_diffusers) if name == "vqgan" else name for name in FILES]


def options(name, **changed):
    leaf = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    return leaf | SMALL[name] | changed


def small(name, **changed):
    torch.manual_seed(0)
    if name in AUDIO:
        return build(options(name, **changed), input_shape=(1, 960), sample_rate=8000)
    return build(options(name, **changed), input_shape=(3, 32, 32), sample_rate=None)


def data(name, count=2):
    shape = (1, 960) if name in AUDIO else (3, 32, 32)
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def test_every_file_is_tried_here():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(FILES)
    assert all(OmegaConf.load(path)["version"] == 1 for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("name", KINDS)
def test_shapes_ranges_and_gradients(name):
    model = small(name)
    x = data(name)
    features = model.target(x)
    h = model.encode(features)
    grid = {"conv": (8, 8), "vqgan": (4, 4), "mel": (20,), "codec": (20,), "sqcodec": (10,)}[name]
    assert h.shape == (2, model.width, *grid)
    decoded = model.decode(h)
    assert decoded.shape == features.shape
    output = model.loss(decoded, features)
    output.total.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in model.parameters())
    assert not any(term.requires_grad for term in output.terms.values())
    signal = model.signal(decoded.detach())
    assert signal.shape == x.shape
    assert signal.dtype == torch.float32
    assert (-1 if name in AUDIO else 0) <= float(signal.min()) <= float(signal.max()) <= 1
    assert (model.log_mel(decoded) is None) == (name != "mel")


@pytest.mark.parametrize("name", ["conv", "codec", "sqcodec", pytest.param("vqgan", marks=needs_diffusers)])
def test_the_signal_of_the_target_is_the_input(name):
    model = small(name)
    x = data(name)
    torch.testing.assert_close(model.signal(model.target(x)), x)
    assert float(model.loss(model.target(x), model.target(x)).total) == 0


@pytest.mark.parametrize("name", AUDIO)
@pytest.mark.parametrize("samples", [1, 47, 48, 500, 2000])
def test_audio_of_any_length_is_rounded_up_to_tokens(name, samples):
    model = small(name).eval()
    hop = 96 if name == "sqcodec" else 48
    x = torch.rand(1, 1, samples) - 0.5
    with torch.no_grad():
        h = model.encode(model.target(x))
        signal = model.signal(model.decode(h))
    tokens = -(-samples // hop)
    assert h.shape == (1, model.width, tokens)
    assert signal.shape == (1, 1, tokens * hop)
    assert torch.isfinite(signal).all()


@pytest.mark.parametrize("name", KINDS)
def test_one_step_decreases_the_loss(name):
    model = small(name)
    features = model.target(data(name))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = model.loss(model.decode(model.encode(features)), features).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("rates", [[2], [3, 2], [5, 3]])
def test_codec_with_odd_and_even_rates(rates):
    model = small("codec", rates=rates, channels=[2] * (len(rates) + 1))
    hop = model.hop
    h = model.encode(torch.zeros(1, 1, 7 * hop))
    assert h.shape[-1] == 7
    assert model.decode(h).shape == (1, 1, 7 * hop)


def test_codec_weights_its_terms():
    model = small("codec", waveform=3.0, stft=0.5)
    a, b = data("codec") - 0.5, 0.5 - data("codec")
    output = model.loss(a, b)
    torch.testing.assert_close(output.total, 3 * output.terms["l1"] + 0.5 * output.terms["stft"])
    torch.testing.assert_close(output.terms["l1"], (a - b).abs().mean())
    assert set(small("codec", stft=0.0).loss(a, b).terms) == {"l1"}


def test_layouts_agree():
    model = small("conv").eval()
    x = model.target(data("conv"))
    with torch.no_grad():
        last = model.decode(model.encode(x))
        plain = model.decoder(model.encoder(x))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, plain, atol=1e-5, rtol=1e-4)


def test_images_of_other_sides_than_the_training_ones():
    model = small("conv")
    assert model.encode(model.target(torch.rand(1, 3, 28, 36))).shape == (1, 8, 7, 9)
    with pytest.raises(
        UserError, match=r"images of 30 x 32: the sides have to be multiples of 4 \(model.autoencoder\)"
    ):
        model.target(torch.rand(1, 3, 30, 32))


@needs_diffusers
@pytest.mark.slow
def test_vqgan_at_the_papers_size():
    model = build(
        options("vqgan") | {"channels": 128, "groups": 32, "width": 256}, input_shape=(3, 256, 256), sample_rate=None
    )
    x = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        h = model.encode(model.target(x))
        assert h.shape == (1, 256, 32, 32)
        assert model.decode(h).shape == x.shape


@pytest.mark.parametrize(
    ("name", "changed", "lines"),
    [
        ("conv", {"kind": "con"}, ["unknown model.autoencoder.kind 'con'; did you mean 'conv'? Valid: codec, conv"]),
        ("conv", {"kind": None}, ["unknown model.autoencoder.kind 'None'"]),
        ("conv", {"kind": "mel"}, ["model.autoencoder.kind=mel: the dataset is images of shape [3, 32, 32]; choose"]),
        ("mel", {"kind": "conv"}, ["model.autoencoder.kind=conv: the dataset is audio of shape [1, 960]; choose auto"]),
        ("conv", {"widht": 3}, ["unknown option 'model.autoencoder.widht'; did you mean 'model.autoencoder.width'?"]),
        ("conv", {"width": "wide"}, ["model.autoencoder.width='wide': expected a whole number"]),
        ("conv", {"width": 2.5}, ["model.autoencoder.width=2.5: expected a whole number"]),
        ("conv", {"groups": True}, ["model.autoencoder.groups=True: expected a whole number"]),
        ("conv", {"perceptual": "a lot"}, ["model.autoencoder.perceptual='a lot': expected a finite number"]),
        ("codec", {"rates": 4}, ["model.autoencoder.rates=4: expected a list of one or more"]),
        ("codec", {"rates": [4, "4", 3]}, ["model.autoencoder.rates=[4, '4', 3]: expected a list"]),
        ("codec", {"whisper": 1}, ["model.autoencoder.whisper=1: expected a text or null"]),
        ("conv", {"groups": 3}, ["model.autoencoder.width=8: expected a multiple of model.autoencoder.groups=3"]),
        ("conv", {"width": 0}, ["model.autoencoder.width=0: expected a whole number, at least 1"]),
        ("conv", {"groups": 0, "width": -1}, ["model.autoencoder.width=-1", "model.autoencoder.groups=0"]),
        ("conv", {"perceptual": -1.0}, ["model.autoencoder.perceptual=-1.0: expected a finite number, at least 0"]),
        ("mel", {"griffin_lim": -1}, ["model.autoencoder.griffin_lim=-1: expected a whole number, at least 0"]),
        ("mel", {"groups": 3}, ["model.autoencoder.width=8: expected a multiple of model.autoencoder.groups=3"]),
        ("codec", {"rates": [4, 1, 3]}, ["model.autoencoder.rates=[4, 1, 3]: expected a list of one"]),
        ("codec", {"rates": [4]}, ["model.autoencoder.channels=[2, 4, 4, 6]: expected 2 numbers, one more than"]),
        ("codec", {"rates": [], "channels": [0]}, ["model.autoencoder.channels=[0]", "model.autoencoder.rates=[]"]),
        ("codec", {"waveform": 0.0, "stft": 0.0}, ["model.autoencoder.waveform=0 and .stft=0: nothing is left to"]),
        ("codec", {"stft": -1.0}, ["model.autoencoder.stft=-1.0: expected a finite number, at least 0"]),
        ("vqgan", {"groups": 3}, ["model.autoencoder.channels=8: expected a multiple of model.autoencoder.groups=3"]),
        ("vqgan", {"multipliers": []}, ["model.autoencoder.multipliers=[]: expected a list of one or more"]),
        ("vqgan", {"multipliers": [1] * 7}, ["model.autoencoder: the sides of 32 x 32 images are not multiples of 64"]),
    ],
)
def test_bad_options_are_named(name, changed, lines):
    with pytest.raises(UserError) as caught:
        small(name, **changed)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


def test_missing_options_are_named():
    given = options("conv")
    del given["width"], given["groups"]
    with pytest.raises(UserError) as caught:
        build(given, input_shape=(3, 32, 32), sample_rate=None)
    assert caught.value.lines == (
        "model.autoencoder.width: missing; conv needs it",
        "model.autoencoder.groups: missing; conv needs it",
    )


@pytest.mark.parametrize("shape", [(1, 30, 32), (1, 32, 2)])
def test_images_whose_sides_do_not_divide_are_refused(shape):
    with pytest.raises(UserError, match=r"model.autoencoder: the sides of \d+ x \d+ images are not multiples of 4"):
        build(options("conv"), input_shape=shape, sample_rate=None)


@pytest.mark.parametrize("rate", [None, 0])
def test_audio_without_a_sample_rate_is_refused(rate):
    with pytest.raises(UserError, match=f"dataset.sample_rate={rate}: model.autoencoder.kind=mel needs the rate"):
        build(options("mel"), input_shape=(1, 960), sample_rate=rate)


def test_vqgan_without_diffusers_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.models.autoencoders.vae", None)
    with pytest.raises(UserError, match=r"kind=vqgan needs diffusers: pip install 'vaebench\[diffusers\]'"):
        small("vqgan")


# LPIPS


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """A file as torchvision's, with random weights, and the first digits of its sha256."""
    random = torch.Generator().manual_seed(0)
    weights, number = {}, 0
    for widths in lpips._STAGES:
        for before, after in pairwise(widths):
            scale = (2 / (9 * before)) ** 0.5
            weights[f"features.{number}.weight"] = torch.randn(after, before, 3, 3, generator=random) * scale
            weights[f"features.{number}.bias"] = torch.randn(after, generator=random) * 0.1
            number += 2
        number += 1
    weights["classifier.0.bias"] = torch.zeros(3)
    path = tmp_path_factory.mktemp("weights") / lpips.WEIGHTS_FILE
    torch.save(weights, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()[:8]


@pytest.fixture
def with_vgg(vgg_file, monkeypatch):
    """A machine that has the weights, as far as the code can tell."""
    path, digest = vgg_file
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(path.parent))
    monkeypatch.setattr(lpips, "WEIGHTS_SHA256", digest)


@pytest.fixture
def without_vgg(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_lpips_is_that_of_torchmetrics(vgg_file):
    path, digest = vgg_file
    network = lpips.load(path, sha256=digest)
    ensure_torchvision()
    from torchmetrics.functional.image.lpips import _LPIPS

    peer = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
    vgg = torch.load(path, weights_only=True)
    features = {name.removeprefix("features."): value for name, value in vgg.items() if name.startswith("features.")}
    for stage in (peer.net.slice1, peer.net.slice2, peer.net.slice3, peer.net.slice4, peer.net.slice5):
        stage.load_state_dict({name: features[name] for name in stage.state_dict()})
    a, b = data("conv", 4), 1 - data("conv", 4)
    a.requires_grad_()
    found, expected = network(a, b), peer(a, b, normalize=True).flatten()
    assert found.shape == (4,)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    (one,) = torch.autograd.grad(found.sum(), a)
    (other,) = torch.autograd.grad(expected.sum(), a)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)
    assert torch.equal(network(a, a), torch.zeros(4))
    grey = a.detach()[:, :1]
    torch.testing.assert_close(network(grey, b[:, :1]), network(grey.repeat(1, 3, 1, 1), b[:, :1].repeat(1, 3, 1, 1)))


def test_lpips_is_found_by_its_environment(with_vgg, vgg_file, monkeypatch):
    assert lpips.available()
    assert not any(parameter.requires_grad for parameter in lpips.load().parameters())
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(vgg_file[0]))  # the file itself, or another one beside it
    assert lpips.available()


def test_lpips_is_found_in_torch_hubs_cache(vgg_file, tmp_path, monkeypatch, without_vgg):
    assert not lpips.available()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / lpips.WEIGHTS_FILE).symlink_to(vgg_file[0])
    assert lpips.available()


def test_lpips_with_a_wrong_or_damaged_file(vgg_file, tmp_path):
    with pytest.raises(UserError, match=r"vgg16-397923af.pth has sha256 \w{16}\.\.\. instead of 397923af\.\.\."):
        lpips.load(vgg_file[0])
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()[:8]
    with pytest.raises(UserError, match="does not hold the weights of torchvision's VGG16"):
        lpips.load(damaged, sha256=digest)
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()[:8]
    with pytest.raises(UserError, match="VGG16: 1 convolutions instead of 13"):
        lpips.load(other, sha256=digest)


def test_lpips_refuses_small_images(vgg_file):
    network = lpips.load(vgg_file[0], sha256=vgg_file[1])
    with pytest.raises(UserError, match="LPIPS needs images of at least 16 x 16, not 8 x 20"):
        network(torch.rand(1, 3, 8, 20), torch.rand(1, 3, 8, 20))


def test_perceptual_loss_is_trained_with_and_not_stored(with_vgg):
    model = small("conv", perceptual=0.5)
    plain = small("conv")
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    features = model.target(data("conv"))
    decoded = model.decode(model.encode(features))
    output = model.loss(decoded, features)
    torch.testing.assert_close(output.total.detach(), output.terms["l1"] + 0.5 * output.terms["lpips"])
    expected = lpips.load()((decoded + 1) / 2, (features + 1) / 2).mean()
    torch.testing.assert_close(output.terms["lpips"], expected.detach())
    output.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_perceptual_loss_without_weights_says_where_to_put_them(without_vgg):
    with pytest.raises(
        UserError,
        match=r"model.autoencoder.perceptual=1.0: LPIPS: no file vgg16-397923af.pth; download .*"
        r"VAEBENCH_WEIGHTS.*hub/checkpoints; or set it to 0",
    ):
        small("conv", perceptual=1.0)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 32, 32)])
def test_perceptual_loss_of_other_images(with_vgg, shape):
    with pytest.raises(UserError, match=r"model.autoencoder.perceptual=1.0: LPIPS is for grey or colour images"):
        build(options("conv", perceptual=1.0), input_shape=shape, sample_rate=None)


# Whisper


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory):
    """A folder with a tiny untrained Whisper: 8 features of 0.02 s."""
    ensure_torchvision()
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 80, "max_source_positions": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    ids = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(WhisperConfig(**sizes, **heads, **ids)).save_pretrained(folder)
    return folder


def test_whisper_hears_what_its_own_front_end_gives(tiny_whisper):
    distance = whisper.WhisperDistance(str(tiny_whisper))
    from transformers import WhisperFeatureExtractor, WhisperModel

    x = torch.rand(1000, generator=torch.Generator().manual_seed(1)) - 0.5
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=1, n_samples=2560)
    extractor.n_samples = 2560
    extractor.nb_max_frames = 16
    spectra = extractor(x.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    model = WhisperModel.from_pretrained(tiny_whisper).eval()
    with torch.no_grad():
        expected = model.encoder(spectra).last_hidden_state
    torch.testing.assert_close(distance.encoder(x[None]), expected, atol=1e-4, rtol=1e-3)


def test_whisper_distance(tiny_whisper):
    distance = whisper.WhisperDistance(str(tiny_whisper))
    a = (torch.rand(2, 1000) - 0.5).requires_grad_()
    b = torch.rand(2, 4000) - 0.5  # longer than the window
    found = distance(a, b)
    expected = (distance.encoder(a) - distance.encoder(b)).square().sum(-1).mean()
    torch.testing.assert_close(found, expected.clamp(max=5))
    found.backward()
    assert a.grad.abs().sum() > 0
    assert float(distance(a, a).detach()) == 0


def test_a_large_whisper_distance_is_scaled_down_and_keeps_its_gradient(tiny_whisper, monkeypatch):
    distance = whisper.WhisperDistance(str(tiny_whisper))
    a, b = (torch.rand(1, 1000) - 0.5).requires_grad_(), torch.rand(1, 1000) - 0.5
    (free,) = torch.autograd.grad(distance(a, b), a)
    size = float(distance(a, b).detach())
    monkeypatch.setattr(whisper, "LARGEST", size / 4)
    found = distance(a, b)
    assert float(found.detach()) == pytest.approx(size / 4)
    (cut,) = torch.autograd.grad(found, a)
    torch.testing.assert_close(cut, free / 4)


def test_codec_with_whisper(tiny_whisper):
    given = options("sqcodec", whisper=str(tiny_whisper))
    model = build(given, input_shape=(1, 960), sample_rate=16000)
    plain = build(options("sqcodec"), input_shape=(1, 960), sample_rate=16000)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    features = model.target(data("sqcodec"))
    output = model.loss(model.decode(model.encode(features)), features)
    output.total.backward()
    assert {"l1", "stft", "whisper"} == set(output.terms)
    weighted = 100 * output.terms["l1"] + output.terms["stft"] + output.terms["whisper"]
    torch.testing.assert_close(output.total.detach(), weighted)


def test_whisper_hears_one_sample_rate(tiny_whisper):
    with pytest.raises(UserError, match=r"whisper=\S+: Whisper hears 16000 Hz, the data has 8000 Hz; set it to null"):
        small("codec", whisper=str(tiny_whisper))


def test_a_whisper_that_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match=r"model.autoencoder.whisper=\S+: cannot be loaded \(.+\); give a folder"):
        build(options("codec", whisper=str(tmp_path)), input_shape=(1, 960), sample_rate=16000)
