"""The published ResNet-20: its shape, a shortcut by hand, and its accuracy where weights and images are at hand."""

from __future__ import annotations

import lzma
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench.metrics.features import cifar10_resnet_available, load_cifar10_resnet
from vaebench.nn.pretrained.cifar_resnet import Block, CifarResNet

TEST_IMAGES = Path(os.environ.get("VAEBENCH_DATA", "")) / "cifar10" / "test_batch_first1000.bin.xz"


def random_state() -> dict[str, Tensor]:
    """Tensors of the published names and shapes."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, before: int, after: int, number: str) -> None:
        state[f"module.{name}conv{number}.weight"] = torch.randn(after, before, 3, 3) * 0.1
        for part in ("weight", "bias", "running_mean"):
            state[f"module.{name}bn{number}.{part}"] = torch.rand(after)
        state[f"module.{name}bn{number}.running_var"] = 1 + torch.rand(after)

    convolution("", 3, 16, "1")
    widths = [16] * 4 + [32] * 3 + [64] * 3
    for index, (before, after) in enumerate(pairwise(widths)):
        convolution(f"layer{index // 3 + 1}.{index % 3}.", before, after, "1")
        convolution(f"layer{index // 3 + 1}.{index % 3}.", after, after, "2")
    return state | {"module.linear.weight": torch.randn(10, 64), "module.linear.bias": torch.randn(10)}


def test_a_published_state_fits_whole_and_another_does_not() -> None:
    torch.manual_seed(0)
    state = random_state()
    counted = {f"{name}.num_batches_tracked": torch.tensor(5) for name in _norms(state)}
    network = CifarResNet(state | counted)
    assert sum(parameter.numel() for parameter in network.parameters()) == 269_722  # 0.27 M in the paper's Table 6
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    features = network(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 64)
    torch.testing.assert_close(
        network.logits(features), features @ state["module.linear.weight"].T + state["module.linear.bias"]
    )
    del state["module.layer3.2.conv2.weight"]
    with pytest.raises(RuntimeError, match=r"layer3\.2\.conv2\.weight"):
        CifarResNet(state)


def _norms(state: dict[str, Tensor]) -> list[str]:
    return [name.removesuffix(".running_var") for name in state if name.endswith("running_var")]


def test_a_shortcut_to_more_channels_takes_every_second_pixel_between_zeros() -> None:
    block = Block(16, 32).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    torch.testing.assert_close(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.skipif(not (cifar10_resnet_available() and TEST_IMAGES.is_file()), reason="needs the data folder")
def test_it_knows_the_test_images() -> None:
    records = np.frombuffer(lzma.decompress(TEST_IMAGES.read_bytes()), dtype=np.uint8).reshape(-1, 3073)
    images = torch.tensor(records[:, 1:]).view(-1, 3, 32, 32).float() / 255
    network = load_cifar10_resnet("cpu")
    found = torch.cat([network.logits(network(part)).argmax(1) for part in images.split(100)])
    assert float((found == torch.tensor(records[:, 0])).double().mean()) > 0.9
