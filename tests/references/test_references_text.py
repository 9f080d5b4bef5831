"""Captions as a reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from vaebench.contracts import ReferenceInputs, Work
from vaebench.embedders.lsa import LSA
from vaebench.errors import UserError
from vaebench.references.text import Text, class_names

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = {
    "path": None,
    "sha256": None,
    "names": ["a cat", "a dog"],
    "templates": ["{name}", "a {look} {kind} of {name}", "{look} {name}, {look}"],
    "fillers": {"look": ["dark", "small", "old"], "kind": ["photo", "sketch"]},
    "samples": 20,
}
ALL = [
    "{name}",
    *(f"a {look} {kind} of {{name}}" for look in ("dark", "small", "old") for kind in ("photo", "sketch")),
    *(f"{look} {{name}}, {look}" for look in ("dark", "small", "old")),
]


class Embed:
    """Random vectors of 9 dimensions; remembers what was embedded."""

    def __init__(self, width=9, rank=9):
        self.width, self.rank, self.texts = width, rank, []

    def __call__(self, texts):
        self.texts = list(texts)
        random = torch.Generator().manual_seed(5)
        scales = torch.arange(self.rank, 0, -1.0)
        part = torch.randn(len(texts), self.rank, generator=random) * scales
        return part @ torch.randn(self.rank, self.width, generator=random) + 4


def draw(embed=None, *, seed=0, dataset="digits", shape=(2, 2, 1), **options):
    return Text(**OPTIONS | options).draw(ReferenceInputs(shape, 0.0, 1.0, dataset, seed, embed=embed or Embed()))


class TestCaptions:
    def test_are_every_choice_of_words(self):
        embed = Embed()
        found = draw(embed)
        assert sorted(embed.texts[:10]) == sorted(text.replace("{name}", "a cat") for text in ALL)
        assert sorted(embed.texts[10:]) == sorted(text.replace("{name}", "a dog") for text in ALL)
        assert found.labels.tolist() == [0] * 10 + [1] * 10

    def test_fewer_are_drawn_without_replacement_by_the_seed(self):
        texts = []
        for seed in (1, 1, 2):
            embed = Embed()
            assert draw(embed, seed=seed, samples=13).labels.tolist() == [0] * 6 + [1] * 6
            assert len(set(embed.texts)) == 12
            assert set(embed.texts) <= {text.replace("{name}", name) for text in ALL for name in OPTIONS["names"]}
            texts.append(embed.texts)
        assert texts[0] == texts[1]
        assert texts[0] != texts[2]

    def test_names_are_the_datasets_own(self):
        embed = Embed()
        draw(embed, names=None, dataset="cifar10", templates=["{name}"], samples=10)
        assert embed.texts == list(class_names("cifar10"))

    @pytest.mark.parametrize("samples", [22, 2000])
    def test_more_than_there_are(self, samples):
        with pytest.raises(UserError) as caught:
            draw(samples=samples)
        assert str(caught.value) == (
            f"reference.samples={samples}: each of 2 classes takes 1 to 10, the captions that reference.templates make "
            "with reference.fillers; ask for fewer, or give more of these"
        )

    def test_fewer_than_classes(self):
        with pytest.raises(UserError, match=r"reference.samples=2: each of 3 classes takes 1 to 10"):
            draw(samples=2, names=["a", "b", "c"])

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("a photo", "reference.templates: 'a photo': must have {name}, where the name of the class goes"),
            ("{name} {lok}", "reference.templates: unknown field 'lok'; did you mean 'look'? Valid: kind, look, name"),
            ("{name} {", "reference.templates: '{name} {': Single '{' encountered in format string"),
            (
                "{name} {look.__class__}",
                "reference.templates: unknown field 'look.__class__'. Valid: kind, look, name",
            ),
            ("{name} {}", "reference.templates: unknown field ''. Valid: kind, look, name"),
        ],
    )
    def test_templates_that_cannot_be_filled(self, template, message):
        with pytest.raises(UserError) as caught:
            Text(**OPTIONS | {"templates": ["{name}", template]})
        assert str(caught.value) == message


class TestFile:
    def captions(self, folder, text):
        path = folder / "captions.txt"
        path.write_bytes(text.encode())
        return str(path)

    def test_with_labels(self, tmp_path):
        embed = Embed()
        path = self.captions(tmp_path, "\ufeff3\ta red bus\r\n\n0\tGrößen: two \n12\tx\n3\ty\n0\tz\n")
        found = draw(embed, path=path)
        assert embed.texts == ["a red bus", "Größen: two", "x", "y", "z"]
        assert found.labels.tolist() == [3, 0, 12, 3, 0]

    def test_without_labels(self, tmp_path):
        embed = Embed()
        found = draw(embed, path=self.captions(tmp_path, "one\ntwo\nthree\nfour\nfive"))
        assert embed.texts == ["one", "two", "three", "four", "five"]
        assert found.labels is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1\tone\ntwo", r"caption 2 \('two'\) has no label and others have; give all of them one"),
            ("1\tone\ncat\ttwo", r"captions.txt:2: expected a caption, or LABEL TAB CAPTION with a whole number"),
            ("one\n\n-1\ttwo", r"captions.txt:3: expected a caption, or LABEL TAB CAPTION"),
            ("1\t \n", r"captions.txt:1: expected a caption, or LABEL TAB CAPTION"),
            ("one\ntwo", r"2 captions in 9 dimensions have only 1 independent directions"),
            ("one", r"captions.txt: captions: 1; a distribution takes at least 2"),
            ("", r"captions.txt: captions: 0; a distribution takes at least 2"),
        ],
    )
    def test_bad_lines(self, text, message, tmp_path):
        with pytest.raises(UserError, match=message):
            draw(path=self.captions(tmp_path, text))

    def test_what_is_no_text_or_has_changed(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UserError, match=r"cannot be read as text in UTF-8"):
            draw(path=str(tmp_path / "a.txt"))
        with pytest.raises(UserError, match=r"the file has changed"):
            draw(path=str(tmp_path / "a.txt"), sha256="0123")


class TestGrid:
    def test_is_the_principal_components_scaled_by_one_factor(self):
        embed = Embed()
        found = draw(embed)
        vectors = embed(embed.texts).double()
        centred = vectors - vectors.mean(0)
        _, _, directions = torch.linalg.svd(centred, full_matrices=False)
        expected = centred @ directions[:4].T
        expected = expected / expected.square().mean().sqrt()
        flat = found.z.flatten(1).double()
        # A direction's sign is a convention.
        expected = expected * (expected * flat).sum(0).sign()
        torch.testing.assert_close(flat, expected, atol=1e-5, rtol=0.0)
        assert found.z.shape == (20, 2, 2, 1)
        assert found.z.dtype == torch.float32
        torch.testing.assert_close(found.z, draw().z, atol=0.0, rtol=0.0)

    @pytest.mark.parametrize(
        ("embed", "message"),
        [
            (Embed(width=3), "20 captions in 3 dimensions have only 3 independent directions, and a latent"),
            (Embed(rank=2), r"in 9 dimensions have only 2 independent directions, and a latent \[2, 2, 1\] takes 4"),
        ],
    )
    def test_too_few_directions(self, embed, message):
        with pytest.raises(UserError, match=message):
            draw(embed)

    def test_without_an_embedder(self):
        with pytest.raises(UserError, match=r"is made of texts, and no embedder was given"):
            Text(**OPTIONS).draw(ReferenceInputs((2, 2, 1), 0.0, 1.0, "digits", 0))


def test_default_captions_fill_a_latent_with_the_default_embedder():
    leaf = yaml.safe_load((CONF / "reference" / "text.yaml").read_text("utf-8"))
    lsa = yaml.safe_load((CONF / "embedder" / "lsa.yaml").read_text("utf-8"))

    def embed(texts):
        embedder = LSA(**{name: value for name, value in lsa.items() if name not in ("_target_", "version")})
        embedder.open(Work({}, torch.device("cpu")))
        embedder.fit(texts)
        return embedder.embed(texts, "solution")

    reference = Text(**{name: leaf[name] for name in OPTIONS} | {"samples": 4000})
    found = reference.draw(ReferenceInputs((16, 2, 2), 0.0, 1.0, "digits", 0, embed=embed))
    assert found.z.shape == (4000, 16, 2, 2)
    assert found.z.std() == pytest.approx(1, abs=1e-4)
    # The class is in the captions' vectors: an item's nearest neighbour is one of its class.
    flat = found.z.flatten(1)
    nearest = (torch.cdist(flat[:1000], flat).topk(2, largest=False).indices)[:, 1]
    assert (found.labels[nearest] == found.labels[:1000]).float().mean() > 0.5
