"""One training step of every network of a paper at its real size, of one image, where the memory is there."""

from __future__ import annotations

import pytest
import torch

from vaebench.config.compose import session
from vaebench.config.spine import ReproduceConfig
from vaebench.engine import runtime
from vaebench.metrics import cost
from vaebench.reproduce import costs, planning

CPU = torch.device("cpu")


def designs() -> dict[str, cost.Design]:
    """A training of each model of the tables at scale=paper, by the model's name."""
    with session():
        cfg = ReproduceConfig(paper="ldmae", table="generation,ablation")
        trainings, behind = planning.trainings(cfg, "paper")
    found: dict[str, cost.Design] = {}
    for _, request in trainings:
        name = str(request["model"]["_target_"]).split(".")[2]
        found.setdefault(name, costs.design(request, behind)[0])
    return found


@pytest.fixture(scope="module")
def at_paper() -> dict[str, cost.Design]:
    return designs()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vmae", (3, 128, 128)),
        ("ldm", (16, 32, 32)),
        pytest.param("grid_autoencoder", (3, 256, 256), marks=pytest.mark.slow),
    ],
)
def test_one_step_at_the_papers_size(at_paper, name, shape):
    design = at_paper[name]
    assert tuple(design.shape) == shape
    needed = 8 << 30
    if runtime.free_bytes(CPU) < needed:
        pytest.skip("needs 8 GB of free memory")
    torch.manual_seed(0)
    model = design.build()
    optimizers = design.optimizers(model)
    batch = cost.random_batch(design.shape, 1, latents=design.latents)
    for phase in model.phases:  # type: ignore[union-attr]
        output = phase.loss(batch, 0)
        assert output.total.isfinite()
        output.total.backward(inputs=phase.parameters)
        before = [parameter.detach().clone() for parameter in phase.parameters]
        optimizers[phase.name].step()
        assert all(parameter.isfinite().all() for parameter in phase.parameters)
        changed = any(not torch.equal(one, other) for one, other in zip(phase.parameters, before, strict=True))
        assert changed or phase.name == "discriminator", "which begins later"


def test_every_model_of_the_tables_is_there(at_paper):
    assert set(at_paper) == {"grid_autoencoder", "vmae", "ldm"}
