"""FID's network against torch-fidelity's with the same weights; where the weights come from and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision
from vaebench.data.fetch import Undelivered
from vaebench.errors import UserError
from vaebench.metrics import features
from vaebench.metrics.features import WEIGHTS_FILES, find_inception_weights, load_inception, read_inception
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.nn.pretrained import cifar_resnet
from vaebench.nn.pretrained.inception import SPATIAL_FEATURES, Inception, fold_batch_norm, resize
from vaebench.suites.judges import Activations, Judge, observe


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """torch-fidelity's extractor with random weights that keep the signal alive, and the file of these weights."""
    ensure_torchvision()
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    extractor = module.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **options: {})
        patch.setattr(extractor, "load_state_dict", lambda self, state: None)
        network = extractor("inception", ["2048"])
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 2)
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)  # as old as the real file
    return network, path


@pytest.fixture
def ours(peer: tuple[Any, Path]) -> Inception:
    return read_inception(peer[1])


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test touches the real store, the user's weights or the network."""
    monkeypatch.delenv("VAEBENCH_WEIGHTS", raising=False)
    monkeypatch.setenv("VAEBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(features, "download", refuse)


def refuse(*args: object, **options: object) -> None:
    raise Undelivered(f"{features.WEIGHTS_URL} (no route to host)")


def accept(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the content of ``path`` count as the right one."""
    monkeypatch.setattr(features, "WEIGHTS_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def extract(network: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """What `observe` gives of a network's features."""
    judge = Judge({}, lambda x: Activations(network(x), torch.zeros(len(x), 0)))
    return observe(judge, images, batch_size).features


def to_bytes(images: Tensor) -> Tensor:
    """What torchmetrics hands to the network for images in [0, 1]."""
    return (images * 255).byte().expand(-1, 3, -1, -1)


def test_features_and_distance_are_those_of_torch_fidelity(peer, ours):
    generator = torch.Generator().manual_seed(1)
    grey = torch.rand(4, 1, 28, 28, generator=generator)
    colour = torch.rand(4, 3, 32, 32, generator=generator).square()
    theirs = [peer[0](to_bytes(images))[0] for images in (grey, colour)]
    mine = [extract(ours, images, 3) for images in (grey, colour)]
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == (4, 2048)
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        spread = (b - b.mean(0)).norm()
        assert (a - b).norm() < 1e-3 * spread  # close also on the scale on which images differ
    expected = frechet_distance(reference(theirs[0]), theirs[1])
    assert frechet_distance(reference(mine[0]), mine[1]) == pytest.approx(expected, rel=1e-4)


def test_logits_and_spatial_features_are_those_of_the_reference_evaluators(peer, ours):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    seen: list[Tensor] = []
    hook = peer[0].Mixed_6d.branch1x1.register_forward_hook(lambda *given: seen.append(given[2]))
    theirs = peer[0](to_bytes(images))[0]
    hook.remove()
    features, spatial = ours.both(images)
    assert torch.equal(features, ours(images))
    assert spatial.shape == (2, SPATIAL_FEATURES) == (2, 2023)
    torch.testing.assert_close(spatial.view(2, 17, 17, 7), seen[0][:, :7].movedim(1, 3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        ours.logits(theirs), theirs.mm(peer[0].fc.weight.T)
    )  # as torch-fidelity's logits_unbiased


def test_uint8_images_and_their_floats_give_the_same_features(ours):
    images = torch.arange(3 * 144).view(1, 3, 12, 12).remainder(256).byte()
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal((every.float() / 255 * 255).byte(), every)
    assert torch.equal(extract(ours, images, 1), extract(ours, images.float() / 255, 1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_out_of_range_saturate_and_what_is_no_number_is_refused(ours, value):
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(4)) * 3 - 1
    assert torch.equal(extract(ours, images, 1), extract(ours, images.clamp(0, 1), 1))
    images[0, 0, 3, 3] = value
    with pytest.raises(UserError, match=r"NaN or infinity.*diverged"):
        extract(ours, images, 1)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 32, 40), (1, 3, 299, 299), (1, 1, 320, 301)])
def test_resize_is_bitwise_that_of_torch_fidelity(shape):
    ensure_torchvision()
    module = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2)).float()
    theirs = module.interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert torch.equal(resize(images), theirs)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 320, 301)])
def test_pytorch_fid_resizes_in_its_own_way(peer, shape):
    """pytorch-fid: `F.interpolate` of images in [0, 1], bilinear, corners not aligned; then 2 x - 1."""
    images = torch.rand(shape, generator=torch.Generator().manual_seed(6))
    network, seen = read_inception(peer[1], "pytorch_fid"), []
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = network(images)
    stored = (images * 255).byte().float() / 255
    expected = 2 * nn.functional.interpolate(stored, size=(299, 299), mode="bilinear", align_corners=False) - 1
    torch.testing.assert_close(seen[0], expected.expand(-1, 3, -1, -1), atol=1e-6, rtol=0)
    usual = read_inception(peer[1])(images)
    assert 1e-4 < float((found - usual).norm() / usual.norm()) < 0.2  # near, and not the same


def test_bicubic_images_are_resized_before_they_have_eight_bits(peer, ours):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    large = nn.functional.interpolate(images, size=(299, 299), mode="bicubic")
    theirs = peer[0]((large * 255).clamp(0, 255).byte())[0]  # DMVAE's: torchmetrics is handed images of 299 x 299
    torch.testing.assert_close(read_inception(peer[1], "bicubic")(images), theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours(images), theirs, rtol=1e-3)


def test_weights_named_as_torchvision_names_them_fit():
    """pytorch-fid's network is torchvision's with 1008 classes."""
    ensure_torchvision()
    from torchvision.models import inception_v3

    with torch.device("meta"):
        theirs = inception_v3(num_classes=1008, aux_logits=False, init_weights=False).state_dict()
        network = Inception(theirs)
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_768_352 + 2048 * 1008


def test_folding_batch_norm_keeps_what_a_layer_computes():
    torch.manual_seed(3)
    conv, norm = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, eps=0.001).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 2)
    state = {f"a.conv.{k}": v for k, v in conv.state_dict().items()} | {
        f"a.bn.{k}": v for k, v in norm.state_dict().items()
    }
    more = {"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1), "stray": torch.zeros(1)}
    folded = fold_batch_norm(state | more)
    assert set(folded) == {"a.weight", "a.bias", "fc.weight", "stray"}
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(nn.functional.conv2d(x, folded["a.weight"], folded["a.bias"]), norm(conv(x)))


def test_network_is_frozen_and_in_evaluation_mode(ours):
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_observe_streams_batches_without_gradients():
    sizes: list[int] = []

    def network(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        sizes.append(len(x))
        return x.flatten(1).double()

    images = torch.arange(7 * 4, dtype=torch.uint8).view(7, 1, 2, 2)
    result = extract(network, images, 3)
    assert sizes == [3, 3, 1]
    torch.testing.assert_close(result, images.flatten(1).float() / 255)


def test_weights_are_found_by_file_or_folder_under_either_name(peer, monkeypatch, tmp_path):
    accept(monkeypatch, peer[1])
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(peer[1]))
    assert find_inception_weights() == peer[1]
    assert isinstance(load_inception("cpu"), Inception)
    for name in WEIGHTS_FILES:
        folder = tmp_path / name.partition("-")[0]
        folder.mkdir()
        shutil.copy(peer[1], folder / name)
        monkeypatch.setenv("VAEBENCH_WEIGHTS", str(folder))
        assert find_inception_weights() == folder / name


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=rf"={tmp_path}: no {WEIGHTS_FILES[0]} or {WEIGHTS_FILES[1]} there"):
        find_inception_weights()
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(tmp_path / "nothing.pth"))
    with pytest.raises(UserError, match=r"no file or folder there; set VAEBENCH_WEIGHTS .*features=classifier"):
        find_inception_weights()


def test_a_wrong_file_is_refused_by_name_and_digest(monkeypatch, tmp_path):
    wrong = tmp_path / WEIGHTS_FILES[0]
    wrong.write_bytes(b"not the weights")
    found = hashlib.sha256(b"not the weights").hexdigest()[:8]
    message = rf"{wrong} is not the Inception of FID and is not used: expected SHA-256 6726825d\.\.\., found {found}"
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=message):
        load_inception("cpu")
    monkeypatch.delenv("VAEBENCH_WEIGHTS")
    stored = tmp_path / "home" / "weights" / WEIGHTS_FILES[0]
    stored.parent.mkdir(parents=True)
    wrong.rename(stored)
    with pytest.raises(UserError, match=r"expected SHA-256 6726825d.*delete it to download it again"):
        load_inception("cpu")


def test_download_goes_to_the_store_once_and_offline_says_what_to_do(peer, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"cannot download .*no route to host.*VAEBENCH_WEIGHTS.*classifier"):
        find_inception_weights()
    stored = tmp_path / "home" / "weights" / WEIGHTS_FILES[0]
    assert not stored.exists()
    assert not features.inception_available()
    calls: list[tuple[list[str], str]] = []

    def deliver(urls: list[str], path: Path, *, sha256: str) -> None:
        calls.append((urls, sha256))
        path.parent.mkdir(parents=True)
        shutil.copy(peer[1], path)

    accept(monkeypatch, peer[1])
    monkeypatch.setattr(features, "download", deliver)
    assert features.inception_available()
    assert find_inception_weights() == stored
    assert find_inception_weights() == stored
    assert calls == [([features.WEIGHTS_URL], features.WEIGHTS_SHA256)]


def test_files_that_hold_no_such_weights_are_refused(peer, tmp_path):
    path = tmp_path / "weights.pth"
    whole = peer[1].read_bytes()
    for content in (b"", b"not the weights", whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{path} does not hold the weights of FID's Inception network"):
            read_inception(path)
    state = dict(peer[0].state_dict())
    without = {key: value for key, value in state.items() if not key.startswith("Mixed_7c.branch1x1")}
    for content, reason in (
        (torch.zeros(3), "items"),
        (without, "Mixed_7c.branch1x1.weight"),
        (state | {"stray": torch.zeros(1)}, "stray"),
        ({"a.bn.running_var": torch.ones(1)}, "a.bn.weight"),
        (state | {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)}, "size mismatch"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=reason):
            read_inception(path)


def test_the_cifar10_network_is_looked_for_and_verified(monkeypatch, tmp_path):
    monkeypatch.delenv("VAEBENCH_DATA", raising=False)
    assert not features.cifar10_resnet_available()
    with pytest.raises(
        UserError, match=r"no file \$VAEBENCH_DATA/cifar10_resnet/resnet20-12fca82f\.th; download https"
    ):
        features.load_cifar10_resnet("cpu")
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    path = tmp_path / "cifar10_resnet" / cifar_resnet.WEIGHTS_FILE
    path.parent.mkdir()
    path.write_bytes(b"not the weights")
    assert features.cifar10_resnet_available()
    found = hashlib.sha256(b"not the weights").hexdigest()[:8]
    with pytest.raises(UserError, match=rf"expected SHA-256 12fca82f\.\.\., found {found}\.\.\.; download"):
        features.load_cifar10_resnet("cpu")
    for content in (b"not the weights", {"other": torch.zeros(1)}, {"state_dict": {"linear.bias": torch.zeros(10)}}):
        if not isinstance(content, bytes):
            torch.save(content, path)
        monkeypatch.setattr(cifar_resnet, "WEIGHTS_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        with pytest.raises(UserError, match="does not hold the weights of CIFAR-10's ResNet-20"):
            features.load_cifar10_resnet("cpu")
