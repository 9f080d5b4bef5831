"""What designs cost: the counting rule against closed forms and the paper's figures; measured steps."""

from __future__ import annotations

import math
import signal
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.contracts import Batch, HasEncoder, LossOutput, Phase
from vaebench.errors import UserError
from vaebench.metrics import cost
from vaebench.runs import build
from vaebench.runs.kinds import train
from vaebench.suites.cost import Cost

OPTIONS = {"count_batch": 2, "measure_steps": 0, "measure_batch": 3}


class Attention(nn.Module):
    """One head over the positions, after a norm; queries, keys and values by one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.parts = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*self.parts(self.norm(x))[:, None].chunk(3, dim=3))[:, 0]


class Toy(nn.Module):
    """Patches, attention, a linear decoder; a critic of another phase, every second step."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = Attention(8)
        self.pixels = nn.Linear(8, 48)
        self.critic = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5))
        self.register_buffer("positions", torch.zeros(7))
        self.averaged = 0

    @property
    def phases(self) -> tuple[Phase, ...]:
        own = (*self.patches.parameters(), *self.attention.parameters(), *self.pixels.parameters())
        return (
            Phase("autoencoder", own, self.loss),
            Phase("critic", tuple(self.critic.parameters()), self.judge, every=2),
        )

    def encoder_pass(self, x: Tensor) -> Tensor:
        # Positions come last in memory: as ill laid out for a linear layer as can be.
        return self.attention(self.patches(x).flatten(2).transpose(1, 2))

    def loss(self, batch: Batch, step: int) -> LossOutput:
        return LossOutput(self.pixels(self.encoder_pass(batch.x)).square().mean())

    def judge(self, batch: Batch, step: int) -> LossOutput:
        return LossOutput(self.critic(batch.x).square().mean())

    def average(self) -> None:
        self.averaged += 1


def adam(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    return {phase.name: torch.optim.Adam(phase.parameters) for phase in model.phases}


def toy(build=Toy, precision="float32") -> cost.Design:
    return cost.Design(build=build, optimizers=adam, shape=(3, 8, 12), batch_size=5, precision=precision)


def measured(design: cost.Design, **options) -> dict:
    return {found.name: found for found in Cost(**{**OPTIONS, **options}).run(design).measurements}


def test_the_suite_asks_for_an_encoder_alone():
    assert isinstance(Toy(), HasEncoder)
    assert Cost(**OPTIONS).requires == (HasEncoder,)
    assert Cost(**OPTIONS).of_design
    assert not Cost(**OPTIONS).needs_classifier


def test_counts_of_a_toy():
    found = measured(toy())
    positions = 2 * 3
    stored = (8 * 48 + 8) + 16 + 24 * 8 + (8 * 48 + 48) + 7  # no critic, the fixed table
    layers = positions * (8 * 48 + 24 * 8)
    products = 2 * positions**2 * 8
    assert found["parameters"].value == stored
    assert found["size_mib"].value == pytest.approx(4 * stored / 2**20, rel=1e-12)
    assert found["encoder_gmacs"].value * 1e9 == pytest.approx(2 * (layers + positions * 8 * 4))
    assert found["encoder_gmacs_full"].value * 1e9 == pytest.approx(2 * (layers + products))
    # Backward: products twice each, but none for the image; the critic every second step.
    embedding, linear, judged = positions * 8 * 48, positions * (24 * 8 + 8 * 48), 8 * 12 * 15
    macs = 5 * (2 * embedding + 3 * linear + 3 * products + 2 * judged / 2)
    assert found["step_gflops"].value == pytest.approx(2e-9 * macs)
    assert set(found) == {"parameters", "size_mib", "encoder_gmacs", "encoder_gmacs_full", "step_gflops"}


def test_a_count_says_how_it_was_made():
    found = measured(toy())
    assert found["encoder_gmacs"].protocol == {"rule": cost.RULE, "batch": 2, "resolution": "8x12"}
    assert found["encoder_gmacs"].count == 2
    assert found["step_gflops"].protocol == {"batch": 5, "resolution": "8x12"}
    assert found["size_mib"].unit == "MiB"


def test_counting_changes_nothing_and_needs_no_gradients_from_outside():
    random = torch.get_rng_state()
    with torch.no_grad():
        inside = measured(toy())
    assert torch.equal(random, torch.get_rng_state())
    assert inside == measured(toy())


class Layers(nn.Module):
    """Layers under names of their own, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def encoder_pass(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    ("layers", "shape", "wanted"),
    [
        ((nn.Conv2d(6, 4, 3, padding=1, groups=2),), (6, 5, 7), 35 * 4 * 27),
        ((nn.Conv2d(6, 4, 3, stride=2),), (6, 5, 7), 6 * 4 * 54),
        ((nn.Linear(7, 9),), (6, 5, 7), 30 * 63),
        ((nn.LayerNorm(7),), (6, 5, 7), 4 * 210),
        ((nn.GroupNorm(2, 6), nn.SiLU()), (6, 5, 7), 0),
        ((nn.Flatten(2), Attention(35)), (6, 5, 7), 6 * 35 * 105 + 4 * 210),
    ],
)
def test_the_rule_layer_by_layer(layers, shape, wanted):
    for frozen in (False, True):
        model = Layers(*layers).requires_grad_(not frozen)
        assert cost.encoder_macs(model, (3, *shape)).layers == 3 * wanted


def test_layers_on_transposed_input_are_no_attention():
    model = Layers(nn.Conv2d(3, 8, 1), nn.Flatten(2), Transposed(), nn.Linear(8, 2))
    for gradients in (True, False):
        found = cost.encoder_macs(model.requires_grad_(gradients), (4, 3, 5, 5))
        assert found == cost.Macs(4 * 25 * (24 + 16), 4 * 25 * (24 + 16))


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_kept_bytes_are_those_of_the_forward_pass():
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 10), nn.Sigmoid(), nn.Linear(10, 1))
            self.phases = (Phase("only", tuple(self.layers.parameters()), self.loss),)

        def loss(self, batch: Batch, step: int) -> LossOutput:
            return LossOutput(self.layers(batch.x).sum())

    with cost.weightless():
        model, batch = Squares(), cost.random_batch((6,), 11, latents=False)
        # The input, and the sigmoid's output which the layer behind it shares; not the weights.
        assert cost.count_step(model.phases, batch)[1] == 4 * 11 * (6 + 10)


def test_random_batches():
    torch.manual_seed(0)
    images = cost.random_batch((2, 30, 30), 9, latents=False)
    latents = cost.random_batch((2, 30, 30), 9, latents=True)
    assert images.x.min() >= 0
    assert images.x.max() <= 1
    assert latents.x.std() == pytest.approx(1, abs=0.03)
    assert latents.y.tolist() == [0] * 9


def test_every_part_of_a_step_is_timed_by_its_share(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: float(next(clock)))
    # One tick for each turn: the phase of every step, that of every second, and the average.
    assert cost._measure(toy(precision="bf16"), 2, 4, math.inf, threads=1).seconds == 1 + 0.5 + 1
    assert cost._measure(toy(), 2, 400, 3, threads=1).seconds == 1 + 0.5 + 1  # no second step


def test_a_killed_process_is_a_reason_not_a_crash():
    killed = partial(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(UserError, match=r"not measured: the process was killed \(out of memory\?\)"):
        cost.measure(toy(killed), batch_size=2, steps=1)


def design(*options: str) -> cost.Design:
    with session():
        cfg = compose("train", ["dataset=imagenet", "train.batch_size=4", *options])
    return build.design(train.request(cfg, {}), (3, 256, 256))


def test_the_paper_efficiency_of_the_baselines():
    """319.7 MB and 17,331.3 GFLOPs (arXiv 2507.09984): the convolutional network, whatever it is trained with."""
    pytest.importorskip("diffusers")
    found = measured(design("model=sdvae", "network@model.network=kl_paper", "model.perceptual=none"), count_batch=128)
    assert found["parameters"].value == 83_819_683
    assert round(found["size_mib"].value, 1) == 319.7
    assert round(found["encoder_gmacs"].value, 1) == 17_331.3
    assert round(found["encoder_gmacs_full"].value, 1) == 17_468.7


def test_the_paper_efficiency_of_vmae():
    """42.7 MB and 703.9 GFLOPs, with the tables of positions at 256 x 256 pixels."""
    found = measured(design("model=vmae", "network@model.network=vit_paper", "model.perceptual=none"), count_batch=128)
    assert found["parameters"].value == 11_191_412 + 192  # and the mask token
    assert round(found["size_mib"].value, 2) == 42.69
    assert round(found["encoder_gmacs"].value, 2) == 703.94
    attention = 12 * 2 * 1024**2 * 192 * 128 / 1e9
    norms = 25 * 1024 * 192 * 4 * 128 / 1e9
    assert found["encoder_gmacs_full"].value == pytest.approx(found["encoder_gmacs"].value + attention - norms)


def test_measured_steps():
    small = Request(
        {
            "model": {
                "_target_": "vaebench.models.classifier.Classifier",
                "input_shape": [3, 8, 12],
                "classes": 3,
                "dropout": 0.1,
            },
            "optim": {"_target_": "torch.optim.Adam", "lr": 0.001},
            "train": {"batch_size": 3, "precision": "float32"},
        }
    )
    found = cost.measure(build.design(small, (3, 8, 12)), batch_size=3, steps=2)
    assert found.seconds > 0
    assert 50 < found.peak_bytes / 2**20 < 20_000  # an interpreter with torch


def test_what_is_measured_is_told_with_how(monkeypatch):
    asked = []
    answer = cost.Measured(1.5, 3 << 20)
    monkeypatch.setattr(cost, "measure", lambda design, **how: asked.append((design.precision, how)) or answer)
    found = measured(toy(precision="bf16"), measure_steps=2)
    assert [found[name].value for name in ("step_seconds", "step_seconds_per_image", "peak_mib")] == [1.5, 0.5, 3]
    assert asked == [("bf16", {"batch_size": 3, "steps": 2})]
    assert found["step_seconds"].count == 2
    assert found["step_seconds"].protocol == {
        "batch": 3,
        "resolution": "8x12",
        "steps": 2,
        "precision": "bf16",
        "threads": 1,
        "memory": "resident, with the interpreter and its libraries",
    }


def test_stored_numbers_leave_out_what_another_phase_trains():
    model = Toy()
    other = sum(value.numel() for name, value in model.state_dict().items() if name.startswith("critic"))
    assert cost.stored_numbers(model) == sum(value.numel() for value in model.state_dict().values()) - other
