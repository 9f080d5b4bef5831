import cmath
import math

import pytest
import torch

from vaebench.errors import UserError
from vaebench.nn.audio.codec import SIZES, stft_distance
from vaebench.nn.audio.mel import LogMel, MelAutoencoder, padded

OPTIONS = {"sample_rate": 8000, "n_fft": 256, "hop": 48, "bands": 40, "floor": 1e-4}
NETWORK = {"width": 8, "groups": 2, "griffin_lim": 8}


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def tone(hertz, samples, rate=8000):
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(samples) / rate)[None, None]


def spectrum(x, n_fft, centre):
    """|DFT| of one Hann window around a sample, silence outside, by its definition."""
    windowed = []
    for i in range(n_fft):
        place = centre - n_fft // 2 + i
        value = x[place] if 0 <= place < len(x) else 0.0
        windowed.append(value * 0.5 * (1 - math.cos(2 * math.pi * i / n_fft)))
    return [
        abs(sum(v * cmath.exp(-2j * math.pi * k * i / n_fft) for i, v in enumerate(windowed)))
        for k in range(n_fft // 2 + 1)
    ]


def triangle(band, bands, rate, hertz):
    """HTK: band edges evenly spaced on 2595 log10(1 + f/700), weights linear in Hz."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    low, middle, high = (700 * (10 ** (top * i / (bands + 1) / 2595) - 1) for i in (band, band + 1, band + 2))
    return max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))


class Silence:
    name = "silence"
    device = torch.device("cpu")

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def batch(self, rows):
        from vaebench.contracts import Batch

        torch.rand(1)
        return Batch(self.x[rows], rows)


def test_log_mel_is_the_loop():
    rate, n_fft, hop, bands = 8000, 32, 12, 5
    front = LogMel(sample_rate=rate, n_fft=n_fft, hop=hop, bands=bands, floor=1e-4)
    x = noise(2, 1, 60)
    found = front(x)
    assert found.shape == (2, bands, 5)
    for item in range(2):
        for frame in range(5):
            power = [m**2 for m in spectrum(x[item, 0].tolist(), n_fft, frame * hop)]
            for band in range(bands):
                total = sum(p * triangle(band, bands, rate, k * rate / n_fft) for k, p in enumerate(power))
                assert float(found[item, band, frame]) == pytest.approx(math.log10(max(total, 1e-4)), abs=1e-4)


def test_there_is_one_frame_per_hop_of_any_length():
    front = LogMel(**OPTIONS)
    assert front(noise(2, 1, 4608)).shape == (2, 40, 96)
    for samples, frames in [(1, 1), (48, 1), (49, 2), (100, 3)]:
        x = noise(1, 1, samples)
        assert front(x).shape == (1, 40, frames)
        assert torch.equal(front(x), front(padded(x, 48)))
    assert padded(noise(1, 1, 0), 48).shape == (1, 1, 48)


def test_silence_is_the_floor():
    front = LogMel(**OPTIONS)
    log_mel = front(torch.zeros(1, 1, 480))
    assert torch.equal(log_mel, torch.full((1, 40, 10), math.log10(1e-4)))
    assert float(front.waveform(log_mel, 4).abs().max()) < 4e-3


@pytest.mark.parametrize("hertz", [440, 1000, 2600])
def test_a_tone_keeps_its_pitch_through_log_mel_and_griffin_lim(hertz):
    front = LogMel(**OPTIONS)
    x = tone(hertz, 4800)
    y = front.waveform(front(x), 32)
    assert y.shape == x.shape
    loudest = int(torch.fft.rfft(y[0, 0]).abs().argmax()) * 8000 / 4800
    assert abs(loudest - hertz) < 0.06 * hertz  # a band is wider than that
    assert 0.2 < float(y[0, 0, 480:-480].square().mean().sqrt() / x.square().mean().sqrt()) < 2


def test_griffin_lim_finds_a_waveform_of_the_spectrum_it_is_given():
    front = LogMel(**OPTIONS)
    x = (tone(500, 4800) + tone(1300, 4800)) / 2
    magnitude = front._stft(x[:, 0]).abs()

    def distance(iterations):
        error = front._stft(front.griffin_lim(magnitude, iterations)).abs() - magnitude
        return float(error.norm() / magnitude.norm())

    assert distance(64) < 0.5 * distance(0)
    assert distance(64) < 0.2


def test_griffin_lim_depends_on_the_clip_alone():
    front = LogMel(**OPTIONS)
    log_mel = front(noise(3, 1, 960))
    state = torch.get_rng_state()
    together = front.waveform(log_mel, 8)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(front.waveform(log_mel[1:2], 8), together[1:2], atol=1e-5, rtol=1e-4)
    assert torch.equal(front.waveform(log_mel, 8), together)


def test_look_standardises_what_the_network_sees():
    x = torch.cat((0.3 * noise(70, 1, 480), torch.zeros(10, 1, 480)))
    model = MelAutoencoder(input_shape=(1, 480), **OPTIONS, **NETWORK)
    state = torch.get_rng_state()
    model.look(Silence(x))
    assert torch.equal(torch.get_rng_state(), state)
    features = model.target(x)
    torch.testing.assert_close(features.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.log_mel(features), model.front(x), atol=1e-4, rtol=1e-4)
    assert {"mean", "std"} == {name for name in model.state_dict() if "coder" not in name}


def test_a_silent_dataset_is_refused():
    model = MelAutoencoder(input_shape=(1, 480), **OPTIONS, **NETWORK)
    with pytest.raises(
        UserError, match=r"silence: every training clip is silent \(below model.autoencoder.floor=0.0001"
    ):
        model.look(Silence(torch.zeros(4, 1, 480)))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"bands": 120}, "model.autoencoder.bands=120: too many for windows of 256 samples at 8000 Hz"),
        ({"bands": 200}, "model.autoencoder.bands=200: too many"),
        ({"hop": 129}, "model.autoencoder.hop=129: expected a whole number, 1 to 128 (half of"),
        ({"floor": 0.0}, "model.autoencoder.floor=0.0: expected a finite number above 0"),
        ({"floor": -1.0}, "model.autoencoder.floor=-1.0"),
        ({"n_fft": 2, "hop": 1}, "model.autoencoder.n_fft=2: expected a whole number, at least 4"),
    ],
)
def test_bad_options_are_named(options, line):
    with pytest.raises(UserError) as caught:
        LogMel(**(OPTIONS | options))
    assert caught.value.lines[0].startswith(line)
    assert len(caught.value.lines) == 1


def test_stft_distance_is_the_loop():
    a, b = noise(1, 40, seed=1), noise(1, 40, seed=2)
    total = 0.0
    for size in SIZES[:3]:
        hop = size // 4
        magnitudes, logs = [], []
        for frame in range(40 // hop + 1):
            pairs = zip(*(spectrum(x[0].tolist(), size, frame * hop) for x in (a, b)), strict=True)
            for one, other in pairs:
                magnitudes.append(abs(one - other))
                logs.append(abs(math.log10(max(one, 1e-5) ** 2) - math.log10(max(other, 1e-5) ** 2)))
        total += sum(magnitudes) / len(magnitudes) + sum(logs) / len(logs)
    torch.testing.assert_close(float(stft_distance(a, b, SIZES[:3])), total / 3, rtol=1e-4, atol=1e-5)


def test_stft_distance_of_equal_silent_and_short_waveforms():
    x = noise(2, 100)
    assert SIZES == (32, 64, 128, 256, 512, 1024)
    assert float(stft_distance(x, x)) == 0
    quiet = torch.zeros(2, 100, requires_grad=True)
    stft_distance(quiet, x).backward()
    assert torch.isfinite(quiet.grad).all()
    assert float(stft_distance(torch.zeros(1, 3), torch.zeros(1, 3))) == 0
