"""What every model promises, read from conf/model."""

import inspect
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from vaebench.contracts import (
    Adopts,
    Batch,
    Classifies,
    Completes,
    Finishes,
    FitsInClosedForm,
    GivesLatents,
    HasEncoder,
    HasLayers,
    LooksAtData,
    MasksLatents,
    Reconstructs,
    Samples,
    Tokenizes,
    Watches,
)
from vaebench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "conf" / "model").rglob("*.yaml"))
NAMES = [path.stem for path in FILES]
LEAVES = {path.stem: OmegaConf.load(path) for path in FILES}
# Their latents' shape is known from an autoencoder only.
LATENT = [name for name, leaf in LEAVES.items() if leaf.get("data") == "latents"]
# What they are made of is known from the run they begin with.
CHAINED = [name for name, leaf in LEAVES.items() if "builds_on" in leaf]
VAES = ["beta_vae", "topk", "batchtopk"]
AUTOENCODERS = ["ae", *VAES]
GRIDS = ["grid_ae", "dae", "vae", "sdvae", "vmae"]
TOKENIZERS = ["vq_vae", "vq_ema", "simvq", "fsq", "tokenbridge", "fsp", "vp_vae"]
# Without a trained classifier beside them.
ALONE = {"sdvae": {"perceptual": "none"}, "vmae": {"perceptual": "none"}}


class Images:
    """As much of a dataset as a look at it needs: the items of a batch."""

    name = "blobs"
    device = torch.device("cpu")

    def __init__(self, batch):
        self.items = batch

    def __len__(self):
        return len(self.items.x)

    def batch(self, rows):
        torch.rand(1)  # a dataset of audio draws its crops
        return Batch(self.items.x[rows], self.items.y[rows])


def test_every_method_has_its_yaml():
    modules = {path.stem for path in (ROOT / "vaebench" / "models").glob("*.py")} - {"__init__"}
    targets = {OmegaConf.load(path)["_target_"].split(".")[-2] for path in FILES}
    assert targets == modules
    assert len(FILES) >= 7


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_yaml_lists_exactly_the_constructors_options(path):
    leaf = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    parameters = inspect.signature(get_object(leaf["_target_"])).parameters
    groups = {key.split("@")[1] for entry in leaf.get("defaults", ()) if entry != "_self_" for key in entry}
    assert set(leaf) - {"_target_", "version", "data", "defaults", "builds_on", "needs", "extra"} | groups == set(
        parameters
    )
    assert isinstance(leaf["version"], int)
    if "images" in leaf.get("data", "images"):
        assert leaf["input_shape"] == "${dataset.shape}"
    for parameter in parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is inspect.Parameter.empty, f"{parameter.name}: the default stands in the YAML"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ae", {Reconstructs}),
        ("beta_vae", {Reconstructs, Samples}),
        ("topk", {Reconstructs, Samples}),
        ("batchtopk", {Reconstructs, Samples, MasksLatents}),
        ("pca", {Reconstructs, FitsInClosedForm}),
        ("identity", {Reconstructs}),
        ("classifier", {Adopts, Classifies, HasLayers, LooksAtData}),
        *((name, {GivesLatents, HasEncoder, Adopts, Reconstructs}) for name in GRIDS[:-1]),
        ("vmae", {Completes, GivesLatents, HasEncoder, Adopts, Reconstructs}),
        *((name, {Finishes, LooksAtData, Reconstructs, Tokenizes, Watches}) for name in TOKENIZERS),
    ],
)
def test_capabilities(make, name, expected):
    model = make(name)
    tokens = (Finishes, LooksAtData, Tokenizes, Watches)
    grids = (Completes, GivesLatents, HasEncoder, HasLayers, Adopts)
    every = (Classifies, FitsInClosedForm, MasksLatents, Reconstructs, Samples, *tokens, *grids)
    assert {capability for capability in every if isinstance(model, capability)} == expected


GIVEN = ("diffusers_autoencoder",)  # is there already, and not trained


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*LATENT, *CHAINED, *GIVEN)])
def test_phases_update_all_parameters(make, name):
    model = make(name)
    phased = [parameter for phase in model.phases for parameter in phase.parameters]
    assert {id(p) for p in phased} == {id(p) for p in model.parameters()}
    assert len(phased) == len(list(model.parameters()))


@pytest.mark.parametrize("name", [*AUTOENCODERS, "classifier"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_one_optimiser_step_decreases_the_loss(make, batch, name, reduction):
    options = {} if name == "classifier" else {"reduction": reduction}
    model = make(name, **options)
    (phase,) = model.phases
    optimizer = torch.optim.Adam(phase.parameters, lr=1e-3)
    losses = []
    for _ in range(2):
        torch.manual_seed(1)  # the same noise before and after the step
        output = phase.loss(batch, 0)
        losses.append(float(output.total.detach()))
        optimizer.zero_grad()
        output.total.backward(inputs=phase.parameters)
        optimizer.step()
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", AUTOENCODERS)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("recon_loss", ["mse", "bce"])
def test_autoencoders_with_every_network_and_loss(make, name, network, recon_loss):
    model = make(name, input_shape=[3, 12, 8], network=network, recon_loss=recon_loss)
    x = torch.rand(5, 3, 12, 8)
    output = model.loss(Batch(x, torch.zeros(5)), 0)
    assert output.total.requires_grad
    assert not any(term.requires_grad for term in output.terms.values())
    code = model.eval().encode(x)
    y = model.decode(code).detach()
    assert code.shape == (5, 64)
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("kind", ["conv", "mel", "codec"])
def test_tokenizers_learn_images_and_audio(make, batch, clips, name, kind):
    audio = {} if kind == "conv" else {"input_shape": [1, 480], "sample_rate": 8000}
    model = make(name, autoencoder=kind, **audio)
    data = batch if kind == "conv" else clips
    (phase,) = model.phases
    optimizer = torch.optim.Adam(phase.parameters, lr=3e-3)
    losses = []
    for step in range(8):
        torch.manual_seed(1)
        output = phase.loss(data, step)
        losses.append(float(output.total.detach()))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert {"l1", "auxiliary"} <= set(output.terms)
    assert not any(term.requires_grad for term in output.terms.values())


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("kind", ["conv", "mel", "codec"])
def test_tokens_come_back_as_the_code(make, batch, clips, name, kind):
    audio = {} if kind == "conv" else {"input_shape": [1, 480], "sample_rate": 8000}
    model = make(name, autoencoder=kind, **audio)
    data = batch if kind == "conv" else clips
    model.loss(data, 0)
    model.finish(Images(data))
    model.eval()
    with torch.no_grad():
        tokens, code = model.tokenize(data.x), model.encode(data.x)
        signal = model.decode(code)
        assert torch.equal(model.detokenize(tokens), signal)
    grid = {"conv": (2, 2), "mel": (30,), "codec": (10,)}[kind]
    assert tokens.dtype == torch.int64
    assert tokens.shape == (len(data.x), *grid)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < model.codebook_size
    assert code.shape == (len(data.x), model.quantiser.dim, *grid)
    assert signal.shape == data.x.shape
    assert signal.dtype == torch.float32
    low = 0 if kind == "conv" else -1
    assert low <= float(signal.min()) <= float(signal.max()) <= 1


@pytest.mark.parametrize("name", TOKENIZERS)
def test_watching_changes_nothing(make, batch, name):
    model = make(name)
    model.loss(batch, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = model.watch(Images(batch))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert model.quantiser.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.manual_seed(5)
    assert model.watch(Images(batch)) == first
    assert set(first) == {"usage", "cvu"}
    assert 0 < first["usage"] <= 1
    assert 1 / model.codebook_size <= first["cvu"] * 1.0001
    assert first["cvu"] <= first["usage"] * 1.0001


@pytest.mark.parametrize("name", VAES)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_total_is_recon_plus_beta_kl(make, batch, name, reduction):
    output = make(name, beta=0.25, reduction=reduction).loss(batch, 0)
    expected = output.terms["recon"] + 0.25 * output.terms["kl"]
    torch.testing.assert_close(output.total.detach(), expected)


@pytest.mark.parametrize("name", VAES)
def test_sample_depends_on_the_generator_alone(make, batch, name):
    model = make(name)
    model.loss(batch, 0)
    model.eval()
    first = model.sample(6, torch.Generator().manual_seed(7))
    torch.manual_seed(99)
    again = model.sample(6, torch.Generator().manual_seed(7))
    other = model.sample(6, torch.Generator().manual_seed(8))
    assert first.shape == (6, 1, 8, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", [*AUTOENCODERS, *TOKENIZERS, *GRIDS, "classifier"])
def test_bf16_training_gives_float32_at_the_boundary(make, batch, name):
    model = make(name, **ALONE.get(name, {}))
    with torch.autocast("cpu", torch.bfloat16):
        output = model.phases[0].loss(batch, 0)
        outside = model.logits(batch.x) if name == "classifier" else model.decode(model.encode(batch.x))
    output.total.backward()
    assert output.total.dtype == outside.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.phases[0].parameters)


@pytest.mark.parametrize("name", [*AUTOENCODERS, *TOKENIZERS, *GRIDS, "classifier", "pca"])
def test_state_dict_holds_everything(make, batch, name):
    one, other = (make(name, seed=seed, **ALONE.get(name, {})) for seed in (0, 1))
    if name == "pca":
        one.fit((batch.x * 255).byte())
    for phase in one.phases:
        phase.loss(batch, 0)
    if isinstance(one, Finishes):
        one.finish(Images(batch))
    other.load_state_dict(one.state_dict())
    for model in (one, other):
        model.eval()
    if name == "classifier":
        assert torch.equal(one.logits(batch.x), other.logits(batch.x))
    else:
        assert torch.equal(one.decode(one.encode(batch.x)), other.decode(other.encode(batch.x)))


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("ae", {"latent_dim": 0}, "model.latent_dim=0: expected a whole number, at least 1"),
        ("ae", {"network": "conf"}, "unknown model.network 'conf'; did you mean 'conv'? Valid: conv, mlp"),
        ("beta_vae", {"beta": -1.0}, "model.beta=-1.0: expected a finite number, at least 0"),
        ("beta_vae", {"beta": float("nan")}, "model.beta=nan: expected a finite number, at least 0"),
        ("topk", {"k": 65}, "model.k=65: expected a whole number, 1 to 64 (model.latent_dim)"),
        ("batchtopk", {"k": 65}, "model.k=65: expected a whole number, 1 to 64 (model.latent_dim)"),
        ("batchtopk", {"k": 0}, "model.k=0: expected a whole number, at least 1"),
        ("batchtopk", {"ema_decay": 1.0}, "model.ema_decay=1.0: expected a number, at least 0 and below 1"),
        (
            "batchtopk",
            {"importance": "absz"},
            "unknown model.importance 'absz'; did you mean 'abs_z'? Valid: abs_mu, abs_z, kl, var_mu",
        ),
        ("batchtopk", {"granularity": "dim"}, "unknown model.granularity 'dim'"),
        ("batchtopk", {"ema_start": "debias"}, "unknown model.ema_start 'debias'; did you mean 'debiased'?"),
        ("pca", {"latent_dim": 65}, "model.latent_dim=65: expected a whole number, 1 to 64 (the number of pixels)"),
        ("classifier", {"input_shape": [1, 3, 8]}, "model.input_shape=3: expected a whole number, at least 4"),
        ("classifier", {"dropout": 1.5}, "model.dropout=1.5"),
    ],
)
def test_bad_options_are_named(make, name, options, line):
    with pytest.raises(UserError) as caught:
        make(name, **options)
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(line)


def test_all_mistakes_are_shown_at_once(make):
    with pytest.raises(UserError) as caught:
        make("batchtopk", latent_dim=4, k=0, beta=-1, recon_loss="l2", network="vit")
    assert len(caught.value.lines) == 4


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_without_a_sigmoid_images_are_cut_and_the_loss_is_of_what_is_decoded(make, batch, name):
    model, plain = make(name, output="clamp"), make(name)
    z = torch.linspace(-9, 9, 4 * model.latent_dim).view(4, -1)
    raw = model.decoder(z).detach()
    assert torch.equal(model.decode(z), torch.stack([image.clamp(0, 1) for image in raw]))
    errors = [float((image - x).square().sum()) for image, x in zip(raw, batch.x[:4], strict=True)]
    assert float(model.reconstruction(z, batch.x[:4]).detach()) == pytest.approx(sum(errors) / 4, rel=1e-5)
    assert torch.equal(plain.decode(z), plain.decoder(z).sigmoid())
    with pytest.raises(UserError, match="recon_loss=bce needs probabilities; use mse, or output=null"):
        make(name, output="clamp", recon_loss="bce")


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_input_noise_is_seen_in_training_alone_and_the_target_stays_clean(make, batch, name):
    model, seen, targets = make(name, input_noise=0.3), [], []
    model.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    wanted = model.reconstruction
    model.reconstruction = lambda z, x: targets.append(x) or wanted(z, x)
    model.loss(batch, 0)
    noise = seen[0] - batch.x
    assert float(noise.std()) == pytest.approx(0.3, rel=0.05)
    assert float(seen[0].min()) < 0  # not cut
    assert torch.equal(targets[0], batch.x)
    model.eval().encode(batch.x)
    assert torch.equal(seen[1], batch.x)
