import json
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from vaebench.contracts import Embedder, FittedEmbedder, Work
from vaebench.embedders.lsa import LSA, tokens
from vaebench.errors import UserError

TEXTS = [
    "Tom has 3 red apples and buys 4 red apples.",
    "Tom eats 2 apples; the apples were red and red.",
    "A train travels 120 miles in 2 hours, a slow train.",
    "The slow train travels 1,500.50 miles.",
    "Anna buys 2 tickets for the train and 7 apples",
]
OPTIONS = {
    "dim": 3,
    "ngrams": 2,
    "numbers": "token",
    "sublinear_tf": True,
    "min_df": 1,
    "max_features": None,
    "normalise": True,
    "seed": 0,
    "shard": 8,
}
CPU = Work({}, torch.device("cpu"))


def make(**options):
    embedder: Embedder = LSA(**OPTIONS | options)
    embedder.open(CPU)
    return embedder


def fitted(texts=TEXTS, **options):
    embedder = make(**options)
    embedder.fit(texts)
    return embedder


def slow_rows(texts, *, ngrams, numbers, sublinear_tf, min_df, max_features):
    """Rows of tf-idf, text by text and term by term, and the terms of the columns."""
    bags = []
    for text in texts:
        words = tokens(text, numbers)
        runs = [words[i : i + n] for n in range(1, ngrams + 1) for i in range(len(words) - n + 1)]
        bags.append(Counter(" ".join(run) for run in runs))
    in_texts = Counter(term for bag in bags for term in bag)
    in_all = Counter()
    for bag in bags:
        in_all.update(bag)
    terms = sorted((term for term in in_all if in_texts[term] >= min_df), key=lambda term: (-in_all[term], term))
    terms = sorted(terms[:max_features])
    rows = []
    for bag in bags:
        row = []
        for term in terms:
            tf = bag[term] if not sublinear_tf or bag[term] == 0 else 1 + math.log(bag[term])
            row.append(tf * (1 + math.log((1 + len(texts)) / (1 + in_texts[term]))))
        norm = math.sqrt(sum(value * value for value in row))
        rows.append([value / norm for value in row])
    return np.array(rows), terms


class TestTokens:
    def test_numbers_become_one_token_or_stay(self):
        text = "Tom's 1,234.50 kg: x=3/4 and 12,5; 10%"
        words = ["tom", "s", "1234.50", "kg", "x", "3", "4", "and", "12", "5", "10"]
        assert tokens(text, "keep") == words
        assert tokens(text, "token") == ["#" if word[0].isdigit() else word for word in words]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            (" \n\t+-*/=$", []),
            ("\\frac{1}{2}", ["frac", "1", "2"]),
            ("Größe Ωmega_x", ["größe", "ωmega", "x"]),
            ("1234,567", ["1234", "567"]),
            ("1,234,5678", ["1234", "5678"]),
            ("3.", ["3"]),
            ("a1b", ["a", "1", "b"]),
        ],
    )
    def test_odd_texts(self, text, expected):
        assert tokens(text, "keep") == expected


class TestAgainstTheDefinition:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"numbers": "keep", "ngrams": 1},
            {"sublinear_tf": False},
            {"min_df": 2},
            {"max_features": 9},
            {"ngrams": 3, "min_df": 2, "max_features": 11},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("normalise", [True, False])
    def test_embeds_as_numpys_singular_vectors(self, options, normalise):
        embedder = fitted(normalise=normalise, **options)
        keys = ("ngrams", "numbers", "sublinear_tf", "min_df", "max_features")
        rows, _ = slow_rows(TEXTS, **{key: (OPTIONS | options)[key] for key in keys})
        _, _, right = np.linalg.svd(rows)
        expected = []
        for vector in right[:3]:
            expected.append(rows @ vector * np.sign(vector[np.abs(vector).argmax()]))
        expected = np.stack(expected, axis=1)
        if normalise:
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = embedder.embed(TEXTS, "question")
        assert found.dtype == torch.float32
        assert found.shape == (5, 3)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
        # Rows of tf-idf are not negative, so the first singular vector has one sign: the positive one.
        assert (found[:, 0] > 0).all()

    def test_weights_are_those_of_scikit_learn(self, tmp_path):
        from sklearn.feature_extraction.text import TfidfVectorizer

        embedder = fitted(numbers="keep")
        embedder.save(tmp_path)
        peer = TfidfVectorizer(
            tokenizer=lambda text: tokens(text, "keep"),
            token_pattern=None,
            lowercase=False,
            ngram_range=(1, 2),
            sublinear_tf=True,
        ).fit(TEXTS)
        assert json.loads((tmp_path / "lsa-terms.json").read_text("utf-8")) == list(peer.get_feature_names_out())
        np.testing.assert_allclose(load_file(tmp_path / "lsa.safetensors")["idf"], peer.idf_, rtol=1e-15)

    def test_largest_entry_of_each_component_is_positive(self, tmp_path):
        fitted(dim=5).save(tmp_path)
        components = load_file(tmp_path / "lsa.safetensors")["components"]
        assert components.shape[0] == 5
        for component in components:
            assert component[np.abs(component).argmax()] > 0

    def test_equally_frequent_terms_are_kept_by_alphabet(self, tmp_path):
        texts = ["delta charlie", "bravo alpha", "alpha bravo charlie delta", "zulu zulu"]
        fitted(texts, dim=2, ngrams=1, max_features=3).save(tmp_path)
        assert json.loads((tmp_path / "lsa-terms.json").read_text("utf-8")) == ["alpha", "bravo", "charlie"]

    def test_numbers_as_one_token_make_texts_equal(self):
        pair = ["Tom has 3 apples", "Tom has 75,000.5 apples"]
        same = fitted(numbers="token").embed(pair, "question")
        apart = fitted(numbers="keep").embed(pair, "question")
        assert torch.equal(same[0], same[1])
        assert not torch.equal(apart[0], apart[1])

    def test_a_similar_text_is_nearer(self):
        a, b, c = fitted().embed(["red apples for Tom", "Tom eats apples", "a slow train of miles"], "question")
        assert a @ b > a @ c


class TestBits:
    def test_fitting_twice_gives_the_same_bits(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            fitted().save(tmp_path / name)
        for name in ("lsa-terms.json", "lsa.safetensors"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_loaded_embeds_the_same_bits(self, tmp_path):
        embedder = fitted()
        assert isinstance(embedder, FittedEmbedder)
        embedder.save(tmp_path)
        loaded = make()
        loaded.load(tmp_path)
        texts = [*TEXTS, "apples by train", "nothing known here"]
        assert torch.equal(loaded.embed(texts, "solution"), embedder.embed(texts, "solution"))
        assert {path.name for path in tmp_path.iterdir()} >= {"lsa-terms.json", "lsa.safetensors"}

    def test_a_row_depends_on_its_text_alone(self):
        embedder = fitted()
        together = embedder.embed(TEXTS, "question")
        for row, text in enumerate(TEXTS):
            assert torch.equal(embedder.embed([text], "solution")[0], together[row])


class TestEdges:
    @pytest.mark.parametrize("normalise", [True, False])
    def test_texts_without_known_terms_are_zero(self, normalise):
        found = fitted(normalise=normalise).embed(["", " \n", "???", "unheard", TEXTS[0]], "solution")
        assert torch.equal(found[:4], torch.zeros(4, 3))
        assert found[4].norm() > 0

    def test_no_texts(self):
        assert fitted().embed([], "question").shape == (0, 3)

    def test_normalised_rows_have_unit_norm_and_nothing_is_truncated(self):
        embedder = fitted()
        torch.testing.assert_close(embedder.embed(TEXTS, "question").norm(dim=1), torch.ones(5))
        assert embedder.truncated == 0

    def test_a_text_of_100_000_characters(self):
        embedder = fitted()
        start = time.monotonic()
        texts = ["apples train " * 7_693, "9" * 100_000, "1," * 50_000, "x" * 100_000, "1,234" * 20_000]
        found = embedder.embed(texts, "solution")
        assert time.monotonic() - start < 5
        assert found.isfinite().all()
        assert found[0].norm() == pytest.approx(1, abs=1e-6)

    def test_lone_surrogates_and_nulls(self):
        embedder = fitted([*TEXTS, "apples \ud800 \x00 tickets"])
        assert embedder.embed(["\ud800 apples \x00"], "solution").isfinite().all()


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dim": 0}, "embedder.dim=0: expected a whole number, at least 1"),
            ({"ngrams": 0}, "embedder.ngrams=0: expected a whole number, at least 1"),
            ({"min_df": 0}, "embedder.min_df=0: expected a whole number, at least 1"),
            ({"max_features": 0}, "embedder.max_features=0: expected a whole number, at least 1, or null"),
            ({"seed": -1}, "embedder.seed=-1: expected a whole number, at least 0"),
            ({"shard": 0}, "embedder.shard=0: expected a whole number, at least 1"),
            ({"numbers": "tokens"}, "unknown embedder.numbers 'tokens'; did you mean 'token'? Valid: keep, token"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(UserError) as caught:
            make(**options)
        assert str(caught.value) == message

    def test_more_dimensions_than_directions_says_what_is_possible(self):
        with pytest.raises(UserError) as caught:
            fitted(dim=6)
        assert str(caught.value) == (
            "embedder.dim=6: 5 training texts with 54 terms have only 5 independent directions; choose "
            "embedder.dim=5 or less, or use more texts"
        )
        fitted(dim=5)

    def test_repeated_texts_add_no_direction(self):
        with pytest.raises(UserError, match=r"15 training texts .* only 5 independent directions; choose .*=5 or less"):
            fitted(TEXTS * 3, dim=8)

    def test_few_terms(self):
        with pytest.raises(UserError, match=r"with 2 terms have only 2 independent directions"):
            fitted(max_features=2)

    @pytest.mark.parametrize("texts", [["", "??"], ["one", "two"]])
    def test_no_term_is_left(self, texts):
        with pytest.raises(UserError) as caught:
            fitted(texts, min_df=2)
        assert str(caught.value) == "embedder.min_df=2: no term is in that many of the 2 training texts"

    def test_embedding_before_fitting(self):
        with pytest.raises(
            UserError, match="it has learnt nothing yet; fit it to training texts or load what was saved"
        ):
            make().embed(TEXTS, "question")

    def test_loading_what_is_not_there(self, tmp_path):
        with pytest.raises(UserError, match=r"its embedder cannot be read .*; remove the folder and run again"):
            make().load(tmp_path)

    @pytest.mark.parametrize("name", ["lsa-terms.json", "lsa.safetensors"])
    def test_loading_what_is_broken(self, tmp_path, name):
        fitted().save(tmp_path)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="its embedder cannot be read"):
            make().load(tmp_path)

    def test_loading_what_does_not_fit(self, tmp_path):
        fitted().save(tmp_path)
        with pytest.raises(UserError, match=r"components \(3, 54\), which do not fit embedder.dim=4"):
            make(dim=4).load(tmp_path)
        save_file({"idf": np.ones(54)}, tmp_path / "lsa.safetensors")
        with pytest.raises(UserError, match="its embedder cannot be read"):
            make().load(tmp_path)


def test_the_yaml_gives_every_option():
    leaf = yaml.safe_load((Path(__file__).parents[2] / "conf" / "embedder" / "lsa.yaml").read_text("utf-8"))
    assert leaf.pop("_target_") == "vaebench.embedders.lsa.LSA"
    assert leaf.pop("version") >= 1
    assert LSA(**leaf).dim == leaf["dim"]
