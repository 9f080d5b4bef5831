import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from torch import nn

from vaebench.config.spine import TrainSpec
from vaebench.contracts import (
    Adopts,
    Floors,
    GivesLatents,
    HasEncoder,
    LooksAtData,
    Normalised,
    Reconstructs,
)
from vaebench.data.images import ImageData
from vaebench.engine.loop import Hooks, fit
from vaebench.errors import Interrupted, UserError
from vaebench.models.classifier import Classifier
from vaebench.models.dmvae import DMVAE
from vaebench.models.feature_ae import FeatureAutoencoder
from vaebench.models.ldm import LDM
from vaebench.nn.flows import laws
from vaebench.nn.losses.adversary import hinge_loss

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
LEVELS = {"kind": "conv", "version": 1, "strides": [2, 2], "width": 4, "widest": 2, "blocks": 0, "groups": 2}
LATENTS = [3, 2, 2]
FLOW = {"classes": 4, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2.0}
FLOW |= {"qk_norm": True, "positions": True, "time_scale": 1000.0}
NETWORK = {"input_shape": [1, 8, 8], "encoder": LEVELS, "head_width": 8, "latent_channels": 3, "decoder": LEVELS}
LOSS = {"l1_weight": 1.0, "l2_weight": 0.0, "perceptual": "none", "perceptual_weight": 0.0}
LOSS |= {"adversarial_weight": 0.0, "adversarial_start": 0, "discriminator_layers": 1, "discriminator_channels": 4}
LOSS |= {"augment": True, "consistency_weight": 1.0}
MATCHING = {"dm_weight": 10.0, "guidance": 1.0, "times": [0.0, 1.0], "anneal_to": None, "anneal_steps": None}
MATCHING |= {"normalise_gradient": True, "autoencoder_every": 5, "conditioning": "class", "closed_form": False}
MATCHING |= {"law": None, "score": FLOW | {"null": True}, "label_dropout": 0.1, "floor": 0.0}
GMM = {"kind": "gmm", "components": 3, "spread": 0.8, "std": 0.6, "seed": 0, "per": "latent"}
NORMALISATION = (0.3, 2.0)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return DMVAE(**NETWORK | LOSS | MATCHING | options)


def tokenizer(seed=1, **options):
    torch.manual_seed(seed)
    rest = {"trained": "head_and_decoder", "stochastic": False, "kl_weight": 0.0, "ema_decay": 0.0}
    made = FeatureAutoencoder(**NETWORK | LOSS | rest | options)
    for buffer, value in zip((made.latent_mean, made.latent_std), NORMALISATION, strict=True):
        buffer.fill_(value)
    return made.eval()


def diffusion(seed=2, mean=NORMALISATION[0], std=NORMALISATION[1], **options):
    """A teacher that has something to say."""
    torch.manual_seed(seed)
    given = {"latent_shape": LATENTS, "label_dropout": 0.1, "time_sampling": "uniform", "ema_decay": 0.9}
    given["statistics"] = None
    made = LDM(**FLOW | given | options)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    made.averaged.update(made.network, 0)
    made.mean.fill_(mean)
    made.std.fill_(std)
    return made.eval()


def taught(seed=0, teacher=None, **options):
    """A model as a training begins with it, its student moved a little from the teacher."""
    model = build(seed, **options)
    model.adopt("start", tokenizer())
    model.adopt("teacher", teacher or diffusion())
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def digits(count=60):
    x, y = load_digits(return_X_y=True)
    images = torch.from_numpy(x * 15).to(torch.uint8).view(-1, 1, 8, 8)[:count]
    labels = torch.from_numpy(y).long()[:count] % 4
    return ImageData(
        name="digits",
        train_x=images,
        train_y=labels,
        test_x=images,
        test_y=labels,
        source="",
        digest="",
        note="",
        stand_in=True,
    )


def batch(count=6, first=0):
    return digits().batch(torch.arange(first, first + count))


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def moved(module, before):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def train(model, steps, state=None, hooks=None, **options):
    optimizers = {phase.name: torch.optim.AdamW(phase.parameters, 2e-3, weight_decay=0.0) for phase in model.phases}
    spec = {"epochs": 9, "max_steps": steps, "batch_size": 8, "clip_norm": 1.0, "log_every": 4} | options
    spec = TrainSpec(**spec)
    return fit(model, digits(), optimizers=optimizers, spec=spec, seed=3, state=state, hooks=hooks or Hooks())


def test_it_is_what_the_loop_and_the_suites_ask_for():
    model = build()
    wanted = (GivesLatents, HasEncoder, Reconstructs, Adopts, Floors, LooksAtData, Normalised)
    assert [capability for capability in wanted if not isinstance(model, capability)] == []


def test_the_yaml_lists_the_options():
    leaf = OmegaConf.to_container(OmegaConf.load(CONF / "dmvae.yaml"))
    described = {"_target_", "version", "builds_on", "defaults"}
    assert set(leaf) - described == set(inspect.signature(DMVAE).parameters)
    assert {name for name, value in leaf.items() if value is None} == {
        *("encoder", "head_width", "latent_channels", "decoder"),  # filled in from the tokenizer
        *("dm_weight", "conditioning", "closed_form", "law", "score"),  # from the teacher and its reference
        *("anneal_to", "anneal_steps"),
    }
    tokenizers = OmegaConf.to_container(OmegaConf.load(CONF / "feature_ae.yaml"))
    shared = set(leaf) & set(tokenizers) - {"_target_", "builds_on", "defaults", "head_width", "latent_channels"}
    assert {name for name in shared if leaf[name] != tokenizers[name]} == set()


# The autoencoder's turn


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_the_loop(guidance, normalise):
    """Image by image with the same draws: two flows' predictions of the latent, their difference, L1."""
    teacher = diffusion()
    model, given = taught(teacher=teacher, guidance=guidance, normalise_gradient=normalise), batch()
    torch.manual_seed(8)
    output = model.loss(given, 0)
    torch.manual_seed(8)
    t, noise = torch.rand(6), torch.randn(6, *LATENTS)
    l1, dm, moves = [], [], []
    with torch.no_grad():
        for item in range(6):
            x, label, time = given.x[item : item + 1], given.y[item : item + 1], t[item : item + 1]
            z = model.network.encode(x)
            l1.append((model.network.decode(z) - (2 * x - 1)).abs().mean())
            z = (z - 0.3) / 2.0
            state = time * z + (1 - time) * noise[item]
            predicted = []
            for flow in (teacher.averaged, model.student):
                v, free = flow(state, time, label), flow(state, time, torch.tensor([4]))
                predicted.append(state + (1 - time) * (v + (guidance - 1) * (v - free)))
            g = predicted[1] - predicted[0]
            if normalise:
                g = g / (z - predicted[0]).abs().mean()
            dm.append(0.5 * g.square().mean())
            moves.append(g.abs().mean())
    torch.testing.assert_close(output.terms["l1"], torch.stack(l1).mean())
    torch.testing.assert_close(output.terms["dm"], torch.stack(moves).mean(), rtol=1e-3, atol=1e-5)
    expected = torch.stack(l1).mean() + 10 * torch.stack(dm).mean()
    torch.testing.assert_close(output.total.detach(), expected, rtol=1e-3, atol=1e-5)


def test_the_matching_moves_encoder_and_head_alone():
    """Without a reconstruction: their gradient is that of ``g / numel`` at the latents, the decoder's is nothing."""
    model, given = taught(l1_weight=0.0), batch()
    torch.manual_seed(8)
    model.loss(given, 0).total.backward()
    found = {name: parameter.grad for name, parameter in model.network.named_parameters()}
    model.zero_grad()
    torch.manual_seed(8)
    z = model.network.encode(given.x)
    g = model._gradient(((z - 0.3) / 2.0).detach(), given.y, 0)
    z.backward(10 * g / g.numel() / 2.0)
    for name, parameter in model.network.named_parameters():
        if name.startswith("decoder"):
            assert not found[name].any()
            assert parameter.grad is None
        else:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)
            assert found[name].any()


def test_no_gradient_reaches_the_flows():
    teacher = diffusion()
    model = taught(teacher=teacher, guidance=2.0)
    model.loss(batch(), 0).total.backward()
    assert all(parameter.grad is None for parameter in model.student.parameters())
    assert all(parameter.grad is None for parameter in model._teacher.network.parameters())
    assert all(parameter.grad is not None for parameter in model.network.parameters())


def test_both_flows_are_guided_in_one_batch_each_and_in_evaluation_mode():
    model, seen = taught(guidance=5.0).train(), []

    def watch(module, given):
        seen.append(
            (module is model.student, module.training, len(given[0]), given[2].tolist(), torch.is_grad_enabled())
        )

    for flow in (model.student, model._teacher.network):
        flow.register_forward_pre_hook(watch)
    given = batch(3)
    model.loss(given, 0)
    labels = [*given.y.tolist(), 4, 4, 4]
    assert sorted(seen) == [(False, False, 6, labels, False), (True, False, 6, labels, False)]
    assert model.student.training


def test_what_is_logged_of_the_latents():
    model, given = taught(), batch()
    z = ((model.encode(given.x) - 0.3) / 2).detach()
    terms = model.loss(given, 0).terms
    assert set(terms) == {"l1", "dm", "latent_mean", "latent_std"}
    assert not any(term.requires_grad for term in terms.values())
    torch.testing.assert_close(terms["latent_mean"], z.mean())
    each = [z[:, c, i, j].var(correction=0) for c in range(3) for i in range(2) for j in range(2)]
    torch.testing.assert_close(terms["latent_std"], torch.stack(each).mean().sqrt())
    assert "latent_std" not in model.loss(batch(1), 0).terms, "a batch of one has not collapsed"


def test_times_rise_along_the_training():
    model = taught(times=[0.0, 0.9], anneal_to=0.5, anneal_steps=100)
    drawn = []
    model.student.register_forward_pre_hook(lambda module, given: drawn.append(given[1]))
    for step in (0, 50, 100, 400):
        model._gradient(torch.zeros(2000, *LATENTS), torch.zeros(2000, dtype=torch.int64), step)
    for times, low in zip(drawn, (0.0, 0.25, 0.5, 0.5), strict=True):
        assert low <= float(times.min()) < low + 0.01
        assert 0.89 < float(times.max()) <= 0.9


def test_perceptual_term():
    torch.manual_seed(0)
    model = taught(perceptual="classifier", perceptual_weight=1.0)
    with pytest.raises(UserError, match="no trained classifier was given"):
        model.loss(batch(), 0)
    model.adopt("perceptual", Classifier(input_shape=[1, 8, 8], classes=4, dropout=0.0))
    assert "perceptual" in model.loss(batch(), 0).terms
    assert not any("perceptual" in name for name in model.state_dict())


# The student's turn


def test_the_students_loss_is_the_loop():
    model, given = taught(label_dropout=0.5), batch()
    torch.manual_seed(8)
    found = float(model.student_loss(given, 1).total.detach())
    torch.manual_seed(8)
    dropped, t, noise = torch.rand(6) < 0.5, torch.rand(6), torch.randn(6, *LATENTS)
    assert 0 < int(dropped.sum()) < 6
    errors = []
    with torch.no_grad():
        for item in range(6):
            z = (model.network.encode(given.x[item : item + 1]) - 0.3) / 2.0
            label = torch.tensor([4]) if dropped[item] else given.y[item : item + 1]
            state = t[item] * z + (1 - t[item]) * noise[item]
            v = model.student(state, t[item : item + 1], label)
            errors += (v - (z - noise[item])).square().flatten().tolist()
    assert found == pytest.approx(sum(errors) / len(errors), rel=1e-4)


@pytest.mark.parametrize("after_the_autoencoder", [True, False])
def test_the_student_sends_nothing_to_the_encoder(after_the_autoencoder):
    model, given = taught(), batch()
    if after_the_autoencoder:
        model.loss(given, 0)
    model.student_loss(given, 0).total.backward()
    assert all(parameter.grad is None for parameter in model.network.parameters())
    # Embeddings of classes that are not in the batch get zeros, all others something.
    assert all(parameter.grad is not None for parameter in model.student.parameters())


def test_a_step_encodes_once_and_without_a_graph_where_the_autoencoder_rests():
    model, encoded, decoded = taught(), [], []
    model.network.encoder.register_forward_hook(lambda *_: encoded.append(torch.is_grad_enabled()))
    model.network.decoder.register_forward_hook(lambda *_: decoded.append(1))
    train(model, 7)
    assert encoded == [True, False, False, False, False, True, False]
    assert len(decoded) == 2


def test_the_student_learns_from_latents_before_the_autoencoders_update():
    model, given = taught(), batch()
    before = ((model.encode(given.x) - 0.3) / 2).detach()
    model.loss(given, 0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(1.0)
    assert torch.equal(model._latents(given.x), before)
    # The next step's, and another batch's, are encoded anew.
    assert not torch.isclose(model._latents(given.x), before).all()
    model.loss(given, 5)
    other = batch(first=6)
    assert torch.equal(model._latents(other.x), ((model.encode(other.x) - 0.3) / 2).detach())


# Phases


def test_phases_share_no_parameter_and_leave_none_out():
    model = build(adversarial_weight=0.5, autoencoder_every=3)
    assert [(phase.name, phase.every) for phase in model.phases] == [
        ("autoencoder", 3),
        ("discriminator", 3),
        ("student", 1),
    ]
    parts = [{id(parameter) for parameter in phase.parameters} for phase in model.phases]
    assert set.union(*parts) == {id(parameter) for parameter in model.parameters()}
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert [phase.name for phase in build().phases] == ["autoencoder", "student"]


@pytest.mark.parametrize(("phase", "prefix"), [(0, "network."), (1, "reconstruction."), (2, "student.")])
def test_a_turn_moves_its_own_parameters(phase, prefix):
    """All of them, and nothing else: no other weight, no buffer, no teacher; whatever the gradients reach."""
    teacher = diffusion()
    model, given = taught(adversarial_weight=0.5, teacher=teacher).train(), batch()
    before, real = weights(model), weights(model._teacher.network)
    for turn in model.phases[:phase]:
        turn.loss(given, 0)
    chosen = model.phases[phase]
    optimizer = torch.optim.SGD(chosen.parameters, 1.0)
    optimizer.zero_grad()
    chosen.loss(given, 0).total.backward(inputs=chosen.parameters)
    optimizer.step()
    changed = {name for name in moved(model, before) if "running" not in name and "num_batches" not in name}
    named = {name for name, _ in model.named_parameters() if name.startswith(prefix)}
    assert changed == named
    assert not moved(model._teacher.network, real)


def test_the_discriminator_judges_what_the_autoencoder_has_just_made():
    model, given = taught(adversarial_weight=0.5, augment=False, consistency_weight=0.0), batch()
    made = []
    model.network.decoder.register_forward_hook(lambda module, z, y: made.append(y.detach()))
    terms = model.loss(given, 0).terms
    assert {"adversarial", "adaptive_weight"} <= set(terms)
    found = model.discriminator_loss(given, 0).total
    assert len(made) == 1
    judge = model.reconstruction.discriminator
    torch.testing.assert_close(found, hinge_loss(judge(2 * given.x - 1), judge(made[0])))


def test_training_is_the_slow_loop():
    """Seven steps of `fit` against the order of the paper written out, with the same draws."""
    teacher, data = diffusion(), digits()
    ours, slow = taught(teacher=teacher), taught(teacher=teacher)
    torch.manual_seed(4)
    train(ours, 7)
    torch.manual_seed(4)
    slow.train()
    autoencoder = torch.optim.AdamW(slow.network.parameters(), 2e-3, weight_decay=0.0)
    student = torch.optim.AdamW(slow.student.parameters(), 2e-3, weight_decay=0.0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3 * 1_000_003))
    for step in range(7):
        given = data.batch(order[8 * step : 8 * step + 8])
        raw = slow.network.encode(given.x)
        z = ((raw - 0.3) / 2).detach()
        if step % 5 == 0:
            autoencoder.zero_grad()
            loss = F.l1_loss(slow.network.decode(raw), 2 * given.x - 1)
            t, noise = torch.rand(8), torch.randn_like(z)
            left = (1 - t)[:, None, None, None]
            with torch.no_grad():
                state = z + left * (noise - z)
                real = state + left * teacher.averaged(state, t, given.y)
                fake = state + left * slow.student(state, t, given.y)
                g = (fake - real) / (z - real).abs().mean((1, 2, 3), keepdim=True)
            loss = loss + 10 * 0.5 * ((raw - 0.3) / 2 - (z - g)).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(slow.network.parameters(), 1.0)
            autoencoder.step()
        student.zero_grad()
        labels = torch.where(torch.rand(8) < 0.1, 4, given.y)
        t, noise = torch.rand(8), torch.randn_like(z)
        state = z + (1 - t)[:, None, None, None] * (noise - z)
        (slow.student(state, t, labels) - (z - noise)).square().mean().backward()
        nn.utils.clip_grad_norm_(slow.student.parameters(), 1.0)
        student.step()
    again = slow.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, again[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("stop_after", [1, 3, 5, 6])
def test_resume_within_the_cycle_gives_the_same_bits(stop_after):
    options = {"adversarial_weight": 0.5, "adversarial_start": 3, "anneal_to": 0.5, "anneal_steps": 9, "guidance": 2.0}
    teacher, whole_log, log, saved = diffusion(), [], [], []
    whole = taught(teacher=teacher, **options)
    torch.manual_seed(6)
    train(whole, 12, hooks=Hooks(log=whole_log.append))
    first, calls = taught(teacher=teacher, **options), iter(range(1, 100))
    torch.manual_seed(6)
    with pytest.raises(Interrupted):
        train(first, 12, hooks=Hooks(log=log.append, save=saved.append, stop=lambda: next(calls) == stop_after))
    second = taught(seed=9, teacher=teacher, **options)
    torch.manual_seed(99)
    train(second, 12, state=saved[-1], hooks=Hooks(log=log.append))
    assert moved(second, weights(whole)) == set()
    assert log == whole_log


# Conditions


@pytest.mark.parametrize("classes", [4, 0])
def test_without_conditioning_the_flows_are_told_no_class(classes):
    options = {"conditioning": "none", "score": FLOW | {"null": classes > 0, "classes": classes}}
    model, seen = taught(teacher=diffusion(classes=classes), **options), []
    for flow in (model.student, model._teacher.network):
        flow.register_forward_pre_hook(
            lambda module, given, named: seen.append(named["labels"] if named else given[2]), with_kwargs=True
        )
    given = batch()
    model.loss(given, 0)
    model.student_loss(given, 0)
    assert len(seen) == 3
    if classes:
        assert torch.cat(seen).unique().tolist() == [4]
    model.look(digits())  # labels do not matter


def test_closed_form_takes_the_teachers_place():
    """The gradient is that of the law; a diffusion model gives the student its weights and is not kept."""
    model, teacher = build(closed_form=True, law=GMM, normalise_gradient=False), diffusion()
    model.adopt("start", tokenizer())
    model.adopt("teacher", teacher)
    assert model._teacher is None
    assert torch.equal(model.student.velocity.weight, teacher.averaged.network.velocity.weight)
    z = torch.randn(5, *LATENTS)
    labels = torch.zeros(5, dtype=torch.int64)
    torch.manual_seed(8)
    g = model._gradient(z, labels, 0)
    torch.manual_seed(8)
    t, noise = torch.rand(5), torch.randn_like(z)
    left = (1 - t)[:, None, None, None]
    state = z + left * (noise - z)
    with torch.no_grad():
        expected = left * (model.student(state, t, labels) - laws.build(GMM, LATENTS).velocity(state, t))
    torch.testing.assert_close(g, expected)
    assert not any(name.startswith("law") for name in model.state_dict())


def test_latents_become_the_law():
    """A training from nowhere near N(0, I); without a teacher, the student learns what the latents are by itself."""
    options = {"closed_form": True, "law": {"kind": "gaussian"}, "conditioning": "none", "autoencoder_every": 2}
    model = build(score=FLOW | {"classes": 0, "null": False}, l1_weight=0.1, **options)
    data = digits(1000)
    with torch.no_grad():
        model.network.mean.bias.fill_(1.5)

    def moments():
        with torch.no_grad():
            z = model.encode(data.batch(torch.arange(1000)).x)
        return float(z.mean((0, 2, 3)).abs().mean()), float(z.var(0).mean().sqrt())

    mean, std = moments()
    assert mean > 1
    assert std < 0.3
    optimizers = {phase.name: torch.optim.Adam(phase.parameters, 5e-3) for phase in model.phases}
    torch.manual_seed(0)
    fit(
        model,
        data,
        optimizers=optimizers,
        seed=0,
        spec=TrainSpec(epochs=60, max_steps=400, batch_size=64, clip_norm=1.0),
    )
    mean, std = moments()
    assert mean < 0.35
    assert 0.6 < std < 1.3


def test_collapsed_latents_end_the_training():
    model = taught(floor=0.05)
    with torch.no_grad():
        model.network.mean.weight.zero_()
    with pytest.raises(UserError, match=r"autoencoder/latent_std is below 0.05 at step 1: the latents have collapsed"):
        train(model, 4)
    assert build(floor=0.0).floors == {}


# What it takes from other runs


class TestTeach:
    def test_student_and_teacher_have_the_averaged_weights(self):
        teacher = diffusion()
        with torch.no_grad():
            teacher.network.velocity.weight.zero_()  # what was averaged is another thing
        model = build()
        model.adopt("start", tokenizer())
        stored = set(model.state_dict())
        model.adopt("teacher", teacher)
        averaged = teacher.averaged.network.state_dict()
        for flow in (model.student, model._teacher.network):
            assert not moved(flow, averaged)
        assert set(model.state_dict()) == stored
        assert not model._teacher.network.training
        assert not any(parameter.requires_grad for parameter in model._teacher.network.parameters())
        assert all(parameter.requires_grad for parameter in model.student.parameters())
        assert float(model.loss(batch(), 0).terms["dm"]) < 1e-6  # nothing to do yet

    def test_a_training_without_a_teacher_says_so(self):
        model = build()
        with pytest.raises(UserError, match=r"follows a trained latent diffusion model, and none was given"):
            model.loss(batch(), 0)

    @pytest.mark.parametrize(
        ("teacher", "lines"),
        [
            (lambda: tokenizer(), ["DMVAE's teacher is a latent diffusion model (model=ldm), not FeatureAutoencoder"]),
            (
                lambda: diffusion(latent_shape=[2, 2, 2]),
                ["model.latent_channels=3: latents are [3, 2, 2], the teacher's are [2, 2, 2]; train"],
            ),
            (
                lambda: diffusion(mean=0.5),
                ["the tokenizer's latents have mean 0.3 and deviation 2, the teacher was trained with 0.5 and 2;"],
            ),
            (lambda: diffusion(width=24), ["model.score: the teacher's network has other weights than these options"]),
            (lambda: diffusion(label_dropout=0.0), ["model.score: the teacher's network has other weights"]),
        ],
    )
    def test_another_teacher_is_refused(self, teacher, lines):
        model = build()
        model.adopt("start", tokenizer())
        with pytest.raises(UserError) as caught:
            model.adopt("teacher", teacher())
        assert len(caught.value.lines) == len(lines)
        assert all(found.startswith(line) for found, line in zip(caught.value.lines, lines, strict=True))

    def test_a_normalisation_by_channel_is_refused(self):
        model, teacher = build(), diffusion()
        teacher.std[1] = 3.0
        model.adopt("start", tokenizer())
        with pytest.raises(UserError, match=r"the teacher was trained with 0.3 and 2 to 3; train it with"):
            model.adopt("teacher", teacher)


class TestStart:
    @pytest.mark.parametrize("options", [{}, {"stochastic": True}])
    def test_with_a_tokenizer(self, options):
        model, trained = build(), tokenizer(**options)
        model.adopt("start", trained)
        x = batch().x
        assert torch.equal(model.encode(x), trained.encode(x))
        assert torch.equal(model.decode(model.encode(x)), trained.decode(trained.encode(x)))
        assert (float(model.latent_mean), float(model.latent_std)) == pytest.approx(NORMALISATION)

    def test_with_the_average_of_a_decoder(self):
        model, trained = build(), tokenizer(ema_decay=0.9)
        with torch.no_grad():
            trained.network.decoder.last_weight.add_(1.0)
        model.adopt("start", trained)
        z = torch.randn(2, *LATENTS)
        assert torch.equal(model.decode(z), trained.decode(z))

    def test_with_another_dmvae(self):
        model, trained = build(), taught(5)
        model.adopt("start", trained)
        assert not moved(model.network, weights(trained.network))
        assert float(model.latent_std) == NORMALISATION[1]

    def test_another_model_or_other_options_are_refused(self):
        with pytest.raises(UserError, match="DMVAE starts with a feature autoencoder or another DMVAE, not LDM"):
            build().adopt("start", diffusion())
        with pytest.raises(UserError, match=r"model\.head_width=8: the model to start with has 16"):
            build().adopt("start", tokenizer(head_width=16))


def test_codes_and_images():
    model, x = taught().eval().requires_grad_(False), batch().x
    z = model.encode(x)
    mean, logvar = model.latent_moments(x)
    assert z.shape == (6, *model.latent_shape) == (6, *LATENTS)
    assert torch.equal(z, mean)
    assert torch.equal(z, model.encoder_pass(x))
    assert logvar is None
    y = model.decode(5 * z)
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1


def test_bf16():
    model = taught(adversarial_weight=0.5, guidance=2.0)
    for phase in model.phases:
        with torch.autocast("cpu", torch.bfloat16):
            output = phase.loss(batch(), 0)
        output.total.backward(inputs=phase.parameters)
        assert output.total.dtype == torch.float32
        assert all(parameter.grad.isfinite().all() for parameter in phase.parameters)


def test_labels_that_the_flows_do_not_know_are_refused():
    data = digits()
    model = build(score=FLOW | {"classes": 3, "null": True})
    with pytest.raises(UserError, match="conditioning=class: digits has labels up to 3, the teacher knows 3"):
        model.look(data)
    fitting = build()
    state = torch.get_rng_state()
    fitting.look(data)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            {"score": None, "dm_weight": None, "conditioning": None, "closed_form": None},
            [
                f"model.{name}=null: it is filled in from the teacher"
                for name in ("score", "dm_weight", "conditioning", "closed_form")
            ],
        ),
        ({"encoder": None}, ["model.encoder=null: is filled in"]),
        ({"score": {"widht": 3}}, ["unknown option 'model.score.widht'", *["model.score."] * 9]),
        ({"score": FLOW | {"null": True, "depth": 0}}, ["model.score.depth=0: expected a whole number, at least 1"]),
        ({"conditioning": "label"}, ["unknown model.conditioning 'label'"]),
        ({"dm_weight": -1.0, "guidance": -1.0}, ["model.dm_weight=-1.0: expected", "model.guidance=-1.0: expected"]),
        ({"times": [0.5, 0.5]}, ["model.times=[0.5, 0.5]: expected two rising times"]),
        ({"times": [0.0, 0.5, 1.0]}, ["model.times=[0.0, 0.5, 1.0]: expected two rising times"]),
        ({"anneal_steps": 9}, ["model.anneal_steps=9: is for model.anneal_to, which is null"]),
        ({"anneal_to": 0.5}, ["model.anneal_steps=null: model.anneal_to needs the number of steps"]),
        ({"anneal_to": 1.0, "anneal_steps": 9}, ["model.anneal_to=1.0: expected"]),
        ({"anneal_to": 0.5, "anneal_steps": 0}, ["model.anneal_steps=0: expected"]),
        ({"autoencoder_every": 0}, ["model.autoencoder_every=0: expected a whole number, at least 1"]),
        ({"label_dropout": 1.0}, ["model.label_dropout=1.0: expected a number, at least 0"]),
        ({"floor": -1.0}, ["model.floor=-1.0: expected"]),
        ({"closed_form": True}, ["model.law=null: model.closed_form=true needs one"]),
        ({"closed_form": True, "law": {"kind": "point"}}, ["unknown model.law.kind 'point'"]),
        (
            {"closed_form": True, "law": GMM, "guidance": 2.0},
            ["model.guidance=2.0: without classes there is nothing to be guided to; use 1"],
        ),
        ({"conditioning": "none", "guidance": 2.0}, ["model.guidance=2.0: without classes there is nothing"]),
        (
            {"score": FLOW | {"classes": 0, "null": False}, "label_dropout": 0.0},
            ["model.conditioning=class: the teacher knows no classes; set model.conditioning=none"],
        ),
        (
            {"score": FLOW | {"null": False}, "guidance": 2.0},
            [
                "model.guidance=2.0: the teacher was trained with label_dropout=0",
                "model.label_dropout=0.1: the teacher was trained with label_dropout=0",
            ],
        ),
        (
            {"score": FLOW | {"null": False}, "conditioning": "none"},
            ["model.conditioning=none: the teacher was trained with label_dropout=0"],
        ),
        ({"l1_weight": -1.0}, ["model.l1_weight=-1.0: expected"]),
    ],
)
def test_bad_options_are_named(options, lines):
    with pytest.raises(UserError) as caught:
        build(**options)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


def test_a_batch_is_not_kept_beyond_its_step():
    model = taught(adversarial_weight=0.5)
    train(model, 6)
    assert model._encoded is None


def test_reading_weights_needs_no_teacher():
    model, other = taught(), build(seed=7)
    other.load_state_dict(model.state_dict())
    x = batch().x
    assert torch.equal(other.encode(x), model.encode(x))
