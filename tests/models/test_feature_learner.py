import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from vaebench.contracts import Batch
from vaebench.errors import UserError
from vaebench.models.feature_learner import nt_xent

CONV = {"kind": "conv", "strides": [2, 4], "width": 16, "widest": 2, "blocks": 1, "groups": 4}


@pytest.fixture
def learner(make):
    def build(name="ssl", **options):
        return make(name, **{"input_shape": [1, 8, 8], "encoder": CONV, "projection_width": 16} | options)

    return build


class Digits:
    name, device = "digits", torch.device("cpu")

    def __init__(self, train=True):
        loaded = load_digits()
        x = torch.from_numpy(loaded.images).float()[:, None] / 16
        part = slice(0, 1200) if train else slice(1200, None)
        self.x, self.y = x[part], torch.from_numpy(loaded.target)[part]

    def __len__(self):
        return len(self.x)

    def batch(self, rows):
        return Batch(self.x[rows], self.y[rows])


def train(model, data, steps, rate=2e-3):
    (phase,) = model.phases
    optimizer = torch.optim.Adam(phase.parameters, rate)
    random = torch.Generator().manual_seed(0)
    losses = []
    for step in range(steps):
        output = phase.loss(data.batch(torch.randint(len(data), (128,), generator=random)), step)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
        assert not any(term.requires_grad for term in output.terms.values())
    model.eval()
    return losses


def neighbours(model):
    """The share of test digits whose five nearest training digits say what they are."""
    features = []
    with torch.no_grad():
        for data in (Digits(), Digits(train=False)):
            features.append((model.encode(data.x).flatten(1).numpy(), data.y.numpy()))
    return KNeighborsClassifier(5).fit(*features[0]).score(*features[1])


def test_simclr_compares_two_views(learner):
    model, batch = learner(), Digits().batch(torch.arange(6))
    torch.manual_seed(3)
    found = model.loss(batch, 0)
    torch.manual_seed(3)
    views = [model.view(batch.x) for _ in range(2)]
    one, other = (model.head(model.encoder(view).mean((2, 3))) for view in views)
    torch.testing.assert_close(found.total, nt_xent(one, other, 0.2))
    assert found.terms == {}


def test_classes_are_told_apart_by_the_mean_features(learner):
    model, batch = learner("supervised", encoder=CONV | {"strides": [2, 2]}), Digits().batch(torch.arange(6))
    found = model.loss(batch, 0)
    pooled = model.encode(batch.x).flatten(2).mean(2)
    logits = pooled @ model.head.weight.T + model.head.bias
    expected = [-torch.log_softmax(row, 0)[label] for row, label in zip(logits, batch.y, strict=True)]
    torch.testing.assert_close(found.total, torch.stack(expected).mean())
    assert float(found.terms["accuracy"]) == pytest.approx(float((logits.argmax(1) == batch.y).float().mean()))


def test_self_supervised_features_tell_digits_apart(learner):
    model = learner(rotation=15.0, crop=0.5)
    before = neighbours(model)
    losses = train(model, Digits(), 100)
    assert losses[-1] < 0.75 * losses[0]
    assert neighbours(model) > max(0.9, before + 0.03)


def test_supervised_features_tell_digits_apart(learner):
    model = learner("supervised")
    before = neighbours(model)
    losses = train(model, Digits(), 100)
    assert losses[-1] < 0.1 * losses[0]
    assert neighbours(model) > max(0.9, before + 0.03)


def test_codes_lie_on_the_encoders_grid(learner):
    model = learner(encoder=CONV | {"strides": [2, 2]})
    codes = model.encode(torch.rand(3, 1, 8, 8))
    assert codes.shape == (3, model.encoder.outputs, *model.encoder.grid) == (3, 32, 2, 2)
    assert codes.dtype == torch.float32
    assert [phase.name for phase in model.phases] == ["simclr"]
    assert [phase.name for phase in learner("supervised").phases] == ["classes"]
    assert len(model.phases[0].parameters) == len(list(model.parameters()))


def test_labels_are_counted_before_the_training(learner):
    match = r"model.classes=9: digits has labels up to 9; give their number"
    with pytest.raises(UserError, match=match):
        learner("supervised", classes=9).look(Digits())
    learner("ssl", classes=2).look(Digits())  # it knows no labels
    model = learner("supervised")
    state = torch.get_rng_state()
    model.look(Digits())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("ssl", {"objective": "clr"}, ["unknown model.objective 'clr'"]),
        ("ssl", {"temperature": 0.0}, ["model.temperature=0.0: expected a finite number above 0"]),
        (
            "ssl",
            {"crop": 0.0, "rotation": 200.0},
            ["model.crop=0.0: expected", "model.rotation=200.0: expected"],
        ),
        ("ssl", {"contrast": 1.0, "noise": -1.0}, ["model.contrast=1.0: expected", "model.noise=-1.0: expected"]),
        ("ssl", {"projection_width": 0}, ["model.projection_width=0: expected a whole number, at least 1"]),
        ("supervised", {"classes": 1}, ["model.classes=1: expected a whole number, at least 2"]),
        ("ssl", {"encoder": CONV | {"strides": [3]}}, ["model.encoder.strides=[3]: the sides of 8 x 8 images"]),
    ],
)
def test_bad_options_are_named(learner, name, options, lines):
    with pytest.raises(UserError) as caught:
        learner(name, **options)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)
