"""Requests: what is part of the key, and that every YAML composes into something that runs."""

from __future__ import annotations

import pytest
import torch

import chains
from benchmarks.prepared import prepared
from vaebench.config.choices import choices, leaf
from vaebench.config.compose import compose, configurations, session
from vaebench.config.origins import conf_dir
from vaebench.config.request import Request
from vaebench.config.spine import TrainSpec
from vaebench.engine.loop import fit
from vaebench.errors import UserError
from vaebench.runs import build


def frozen(*overrides: str) -> Request:
    return chains.frozen("dataset=digits", *overrides)


def test_key_ignores_absence_number_spelling_order_and_mirrors():
    one = Request({"verb": "train", "model": {"a": 1, "b": None}, "dataset": {"sha256": "x", "mirrors": ["u"]}})
    two = Request({"dataset": {"sha256": "x"}, "model": {"a": 1.0}, "verb": "train"})
    assert one.key == two.key
    assert one.key != Request({**two.data, "model": {"a": 2}}).key
    assert one.key != Request({**two.data, "model": {"a": True}}).key


def test_golden_key():
    """The canonical form is a format on disk: another key here renames everybody's runs."""
    model = {"latent_dim": 8, "beta": 0.001, "hidden": [512, 256]}
    assert Request({"verb": "train", "model": model}).key == "3eb6638e21d9"


def test_machine_is_no_part_of_the_key_but_seed_and_model_are():
    base = frozen()
    assert base.key == frozen("runtime.threads=2", "runtime.checkpoint_seconds=1", "quiet=true").key
    others = ["seed=1", "model.beta=0.5", "train.batch_size=64", "train.precision=bf16", "optim.lr=0.01"]
    assert len({base.key, *(frozen(other).key for other in others)}) == len(others) + 1


def test_command_line_and_experiment_reach_the_same_run():
    by_name = frozen("experiment=batchtopk/batchtopk_64_8")
    by_hand = frozen("model=batchtopk", "model.latent_dim=64", "model.k=8")
    assert by_name.key == by_hand.key


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_takes_a_real_step(name):
    model, data, request = prepared(name, "train.max_steps=1")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    steps = fit(model, data, optimizers=build.optimizers(request, model), seed=0, spec=TrainSpec(**request["train"]))
    assert steps == (1 if model.phases else 0)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert changed or not before


def test_all_experiments_were_seen():
    assert len(choices("experiment")) == len(list((conf_dir() / "experiment").rglob("*.yaml"))) >= 10


@pytest.mark.parametrize("name", [n for n in choices("model") if "network" in leaf("model", n)])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_model_trains_with_every_network_and_precision(name, network):
    for precision in ("float32", "bf16"):
        request = frozen(
            f"model={name}", f"model.network={network}", "train.max_steps=2", f"train.precision={precision}"
        )
        torch.manual_seed(0)
        model = build.model(request)
        spec, optimizers = TrainSpec(**request["train"]), build.optimizers(request, model)
        assert fit(model, build.dataset(request), optimizers=optimizers, spec=spec, seed=0) == 2


def test_sweep_makes_every_combination():
    with session():
        found = configurations("train", ["dataset=digits", "model.k=4,8", "seed=0,1,2"], sweep=True)
    assert [(cfg.model["k"], cfg.seed) for cfg in found] == [(k, s) for k in (4, 8) for s in (0, 1, 2)]


def test_a_sweep_asks_once_which_images_are_at_hand():
    answers = iter(["digits"])
    with session():
        found = configurations("train", ["model=ae", "seed=0,1"], sweep=True, images=lambda: next(answers))
    assert [cfg.dataset["name"] for cfg in found] == ["digits", "digits"]


def test_missing_argument_is_named():
    request = frozen()
    model = {key: value for key, value in request["model"].items() if key != "k"}
    with pytest.raises(UserError, match=r"model\.k: missing"):
        build.model(Request({**request.data, "model": model}))


def test_compose_outside_the_known_configurations_is_one_line():
    with session(), pytest.raises(UserError) as caught:
        compose("train", ["experiment=nowhere"])
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize("words", [["train=${dataset.name}", "train.max_steps=3"], ["model=[null]"]])
def test_what_hydra_cannot_compose_is_one_line(composing, words):
    with pytest.raises(UserError) as found:
        compose("train", ["dataset=digits", *words])
    assert len(found.value.lines) == 1
