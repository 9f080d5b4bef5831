"""Runs of matched latents: encoder -> tokenizer -> reference -> teacher -> joint -> tuning -> generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from chains import do, failed, files, listed, stop_and_resume, work
from vaebench.chains import check
from vaebench.chains.chain import checked, training
from vaebench.cli.commands import check_links
from vaebench.config.choices import choices
from vaebench.config.compose import compose, configurations, session
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs import load
from vaebench.runs.store import Store

SHORT = ["train.max_steps=4", "train.batch_size=32", "train.log_every=1"]
SCORE = ["train.epochs=null", "model.width=16", "model.depth=1", "model.heads=2", *SHORT]
SIZES = ["model.encoder.width=8", "model.encoder.strides=[2,7]"]
FEATURES = ["model.perceptual=none", "model.decoder.width=8", "model.decoder.strides=[2,7]", "model.latent_channels=4"]
TOKENIZER = [*FEATURES, *SHORT]


STAGES = [
    f"chain.encoder.overrides={listed([*SIZES, *SHORT])}",
    f"chain.features_encoder.overrides={listed([*SIZES, *SHORT])}",
    f"chain.tokenizer.overrides={listed(TOKENIZER)}",
    f"chain.features.overrides={listed(TOKENIZER)}",
    f"chain.autoencoder.overrides={listed(SHORT)}",
    f"chain.diffusion.overrides={listed(SCORE)}",
    f"chain.teacher.overrides={listed(SCORE)}",
]
MATCHED = ["model.perceptual=none", "train.max_steps=12", "train.batch_size=32", "train.log_every=1", "dataset=digits"]
JOINT = ["experiment=dmvae/joint", *MATCHED, *STAGES]
# Links of which the joint training on a reference without a model of its own has no need.
UNNEEDED = ("chain.f", "chain.autoencoder", "chain.diffusion")

composed = pytest.mark.usefixtures("composing")


def chain(*overrides: str) -> list[Request]:
    return training(compose("train", [*JOINT, *overrides]))


def distinct(wanted: list[Request]) -> list[Request]:
    """Each once: a run that several build on stands in a chain once for each."""
    return list({one.key: one for one in wanted}.values())


def kinds(wanted: list[Request]) -> list[str]:
    return [
        request["verb"] if request["verb"] != "train" else request["model"]["_target_"].split(".")[2]
        for request in wanted
    ]


BEHIND = {
    **{"gaussian": [], "gmm": [], "text": [], "file": [], "ssl": ["latents"], "subset": ["latents"]},
    "supervised": ["feature_learner", "feature_ae", "latents"],
    "diffusion_state": ["feature_ae", "latents", "ldm"],
}


@composed
@pytest.mark.parametrize("name", choices("reference"))
def test_each_reference_has_the_chain_it_needs(name):
    given = [f"reference.path={__file__}"] if name == "file" else []
    first, second, *between, drawn, teacher, joint = kinds(chain(f"reference={name}", *given))
    assert [first, second, drawn, teacher, joint] == ["feature_learner", "feature_ae", "reference", "ldm", "dmvae"]
    assert between == BEHIND.get(name, between)


@composed
def test_what_follows_from_the_teacher_and_the_reference_is_filled_in():
    ssl, gmm = chain()[-1], chain("reference=gmm")[-1]
    assert ssl["model"]["score"]["classes"] == 10
    assert gmm["model"]["score"]["classes"] == 0
    assert [one["model"]["conditioning"] for one in (ssl, gmm)] == ["class", "none"]
    assert [one["model"]["closed_form"] for one in (ssl, gmm)] == [False, True]
    assert [one["model"]["dm_weight"] for one in (ssl, gmm)] == [10.0, 1.0]
    assert ssl["model"]["law"] is None
    assert gmm["model"]["law"]["components"] == 10
    narrower = chain("reference=gmm", "reference.std=0.3")[-1]
    assert narrower["model"]["law"]["std"] == 0.3
    assert chain("reference=gmm", "model.closed_form=false")[-1]["model"]["law"] is None
    encoder, tokenizer = chain()[:2]
    assert ssl["model"]["encoder"] == tokenizer["model"]["encoder"] == encoder["model"]["encoder"]
    assert ssl["parents"] == {"start": tokenizer.key, "teacher": chain()[-2].key}


@composed
def test_a_changed_stage_renames_what_depends_on_it_and_nothing_else():
    longer = listed([*SCORE[:-3], "train.max_steps=5", *SHORT[1:]])
    first, other = chain(), chain(f"chain.teacher.overrides={longer}")
    same = [one.key == two.key for one, two in zip(first, other, strict=True)]
    assert same == [True] * (len(first) - 2) + [False] * 2
    by_itself = compose("train", ["experiment=dmvae/tokenizer", "dataset=digits", *TOKENIZER, *STAGES])
    assert training(by_itself)[-1].key == first[1].key
    assert [one.key for one in chain("model.dm_weight=3")[:-1]] == [one.key for one in first[:-1]]


@composed
def test_a_finished_run_stands_in_for_a_stage_wherever_the_chain_needs_it(home):
    tokenizer = do(home, *chain()[:2])[1]
    finished = ["chain.tokenizer.overrides=[]", f"chain.tokenizer.run={tokenizer.key}", f"store={home}"]
    for reference in ("ssl", "gaussian", "supervised"):
        *_, drawn, teacher, joint = chain(f"reference={reference}", *finished)
        assert drawn["parents"]["autoencoder"] == tokenizer.key
        assert teacher["parents"]["autoencoder"] == tokenizer.key
        assert joint["parents"] == {"start": tokenizer.key, "teacher": teacher.key}
    *_, encoder, other, _, _, _, _ = chain("reference=supervised", *finished)
    do(home, encoder, other)
    features = ["chain.features.overrides=[]", f"chain.features.run={other.key}"]
    *_, drawn, _, _ = chain("reference=supervised", *finished, *features)
    assert drawn["parents"]["features_autoencoder"] == other.key
    not_one = ["reference=diffusion_state", f"chain.diffusion.run={other.key}", "chain.diffusion.overrides=[]"]
    with pytest.raises(UserError, match=f"chain.diffusion: run {other.key} is trained on no latents"):
        chain(*not_one, f"store={home}")


@composed
def test_a_finished_run_is_not_made_of_another_experiment_nor_built_on_another_run(home):
    wanted, other = chain("reference=gmm"), chain("reference=gmm", "seed=1")
    finished(home, distinct([*wanted, *other]))
    encoder, tokenizer, joint, another = wanted[0].key, wanted[1].key, wanted[-1].key, other[0].key
    place = ["reference=gmm", f"store={home}", *(f"chain.{name}.overrides=[]" for name in ("encoder", "tokenizer"))]
    own = [*place, f"chain.encoder.run={encoder}", "chain.encoder.experiment=dmvae/supervised"]
    with pytest.raises(UserError, match=f"^chain.encoder.run={encoder}: is trained already, so chain.encoder.experim"):
        chain(*own)
    place += [f"chain.tokenizer.run={tokenizer}"]
    assert chain(*place, f"chain.encoder.run={encoder}")[-1].key == wanted[-1].key
    with pytest.raises(UserError, match=f"^chain.tokenizer.run={tokenizer}: its encoder is run {encoder}, and the cha"):
        chain(*place, f"chain.encoder.run={another}")
    tuned = ["experiment=dmvae/tune", "dataset=digits", "reference=gmm", f"store={home}", f"chain.joint.run={joint}"]
    training(compose("train", [*tuned, f"chain.encoder.run={encoder}"]))
    with pytest.raises(UserError, match=f"^chain.joint.run={joint}: its encoder is run {encoder}, and the chain's enc"):
        training(compose("train", [*tuned, f"chain.encoder.run={another}"]))


def finished(home, wanted: list[Request]) -> None:
    """Note these runs as done; nothing is made."""
    for request in wanted:
        Store(home).open(request).set_status("done")


@composed
def test_a_finished_run_in_a_links_place_belongs_to_the_chain(home):
    wanted = chain("reference=gmm")
    finished(home, distinct(wanted))
    encoder, tokenizer, teacher, joint = (wanted[place].key for place in (0, 1, -2, -1))
    place = [f"store={home}", "chain.teacher.overrides=[]", f"chain.teacher.run={teacher}"]
    assert chain("reference=gmm", *place)[-1].key == wanted[-1].key
    for options, message in (
        ("reference=gaussian", "was made for reference=gmm, and reference=gaussian here; choose reference=gmm, or"),
        ("reference=gmm reference.std=0.3", "was made for reference.std=0.6, and reference.std=0.3 here"),
        (
            "reference=gmm dataset=mnist",
            "was trained on dataset=digits, and dataset=mnist here; choose another run, or",
        ),
        (
            "reference=gmm dataset.shape=[1,14,14]",
            "was trained on dataset.shape=[1, 28, 28], and dataset.shape=[1, 14, 14] here",
        ),
        ("reference=gmm seed=1", f"its autoencoder is run {tokenizer}, and the chain's tokenizer is run "),
    ):
        with pytest.raises(UserError) as error:
            chain(*place, *options.split())
        assert str(error.value).startswith(f"chain.teacher.run={teacher}: ")
        assert message in str(error.value)
        assert len(error.value.lines) == 1
    chain(*place, "reference=gmm", "seed=1", "chain.tokenizer.overrides=[]", f"chain.tokenizer.run={tokenizer}")
    other = ["dataset=mnist", f"store={home}", f"chain.encoder.run={encoder}"]
    with pytest.raises(UserError, match=f"encoder.run={encoder}: was trained on dataset=digits, and dataset=mnist"):
        chain(*other, "chain.encoder.overrides=[]")
    assert chain(*other, "chain.encoder.overrides=['dataset=digits']")[0].key == encoder
    with pytest.raises(UserError, match="is not a training but gmm for latents of "):
        chain(f"store={home}", "chain.encoder.overrides=[]", f"chain.encoder.run={wanted[2].key}")
    drawn = ["reference=gmm", f"store={home}", f"chain.reference.run={wanted[2].key}"]
    assert chain(*drawn)[-1].key == wanted[-1].key
    with pytest.raises(UserError, match="was made for reference=gmm, and reference=gaussian here"):
        chain(*drawn, "reference=gaussian")
    tuned = ["experiment=dmvae/tune", "dataset=mnist", "reference=gmm", f"store={home}", f"chain.joint.run={joint}"]
    with pytest.raises(UserError, match="was trained on dataset=digits, and dataset=mnist here"):
        training(compose("train", [*tuned, "chain.joint.overrides=[]"]))
    assert training(compose("train", [*tuned, "chain.joint.overrides=['dataset=digits']"]))[0].key == joint
    with pytest.raises(UserError, match=r"^unknown chain\.joint\.overrides: dataset 'digit'; did you mean 'digits'"):
        training(compose("train", [*tuned, "chain.joint.overrides=['dataset=digit']"]))


@composed
@pytest.mark.parametrize("reference", ["ssl", "gmm"])
def test_all_stages_run_and_resume_to_the_same_bytes(home, tmp_path, reference):
    tuned = ["experiment=dmvae/tune", f"reference={reference}", *SHORT, "dataset=digits", *STAGES]
    joint = f"chain.joint.overrides={listed(MATCHED[:-1])}"
    wanted = distinct(training(compose("train", [*tuned, joint])))
    check.try_out(wanted)
    whole = do(home, *wanted)
    for one, request in zip(whole, wanted, strict=True):
        # Of the joint training's 12 steps the 8th: between two turns of the autoencoder. A stage here has one shard.
        calls = 8 if "teacher" in request.data.get("parents", {}) else 2 if request["verb"] == "train" else 1
        assert files(one) == files(stop_and_resume(tmp_path / "stopped", request, calls)), request.data


@composed
def test_a_reference_lies_in_the_units_of_the_tokenizer(home):
    *before, reference, teacher, _ = chain("reference=gaussian", "reference.samples=5000")
    runs = do(home, *distinct([*before, reference, teacher]))
    tokenizer = load_file(runs[1].path("model.safetensors"))
    mean, std = tokenizer["latent_mean"], tokenizer["latent_std"]
    drawn = torch.cat([load_file(path)["mean"] for path in sorted(runs[-2].folder.glob("latents-*"))])
    assert len(drawn) == 5000
    assert abs(float(drawn.mean() - mean)) < 0.02 * float(std)
    assert float(drawn.std() / std) == pytest.approx(1, abs=0.02)
    taught = load_file(runs[-1].path("model.safetensors"))
    assert torch.equal(taught["mean"], mean.expand(4, 1, 1))
    assert torch.equal(taught["std"], std.expand(4, 1, 1))


@composed
def test_an_evaluation_finds_the_reference_of_a_matched_model_and_of_its_tuning(home):
    wanted = chain("reference=gaussian", "reference.samples=64")
    runs = do(home, *distinct(wanted))
    found = load.reference_run(runs[-1])
    assert found is not None
    assert found.key == wanted[-3].key
    assert load.reference_run(runs[1]) is None


@composed
def test_a_teacher_of_another_normalisation_is_refused_and_both_are_named(home):
    own = listed([*SCORE, "model.statistics=scalar"])
    *before, joint = chain("reference=gaussian", "reference.samples=500", f"chain.teacher.overrides={own}")
    do(home, *before)
    reason = failed(home, joint)
    assert "the tokenizer's latents have mean" in reason
    assert "the teacher was trained with" in reason
    assert not Store(home).find(joint).path("checkpoint.pt").exists()


@composed
def test_a_stored_teacher_for_other_latents_is_refused(home):
    wide = listed([*[one for one in TOKENIZER if "latent_channels" not in one], "model.latent_channels=6"])
    other = chain(
        "reference=gaussian", "reference.samples=64", f"chain.tokenizer.overrides={wide}", "model.latent_channels=6"
    )
    do(home, *other[:-1])
    *before, joint = chain("reference=gaussian")
    do(home, *before[:2])
    parents = {**joint["parents"], "teacher": other[-2].key}  # which the command line refuses
    reason = work(Store(home).open(Request({**joint.data, "parents": parents}))).reason
    assert "latents are [4, 2, 2], the teacher's are [6, 2, 2]" in reason


@composed
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["reference=gaussian", "model.conditioning=class"],
            "model.conditioning=class: reference gaussian has no labels",
        ),
        (["model.closed_form=true"], "model.closed_form=true: only reference=gaussian and reference=gmm"),
        (["reference=file", "reference.path=/nowhere.npy"], "reference.path=/nowhere.npy: there is no such file"),
        (["parent.link=tokeniser"], "unknown parent.link 'tokeniser'; did you mean 'tokenizer'?"),
        (["chain.teacher.parents.latents=refs"], "unknown chain.teacher.parents.latents 'refs'"),
        (["chain.tokenizer.parents.encoder=joint"], "joint needs itself (joint -> tokenizer -> joint)"),
        (["reference.parents.features=joint"], "joint needs itself (joint -> teacher -> reference -> joint)"),
        (["parent.link=reference"], "parent.link: ssl for latents of "),
        (["chain.joint.parents.teacher=tokenizer_latents"], "is no training, and a model's teacher is one"),
        (["chain.teacher.experiment=null"], "chain.teacher.experiment=null: name one, or a finished run"),
        (
            ["chain.encoder.overrides=['dataset=tiny']"],
            "chain.encoder.overrides: model feature_learner works on",
        ),
        (["chain.reference.kind=eval"], "chain.reference.kind=eval: needs 'problems', which neither its parents"),
        (["chain.reference.kind=refs"], "unknown chain.reference.kind 'refs'. Valid: answers"),
        (["chain.teacher.experiment=dmvae/teecher"], "chain.teacher.experiment"),
        (["chain.teacher.run=abc"], "chain.teacher.run=abc: there is no such run"),
        (["chain.teacher.run="], "chain.teacher.run=: names no run; leave it out, or take a key of"),
        (["parent.run="], "parent.run=: names no run; leave it out, or take a key of"),
        (["parent.link="], "unknown parent.link ''"),
        (["chain.features.run=abc"], "chain.features.run=abc: features is not needed for joint; leave it out"),
        (["chain.encoder.kind=foo", "chain.encoder.overrides=[]"], "unknown chain.encoder.kind 'foo'. Valid: answers"),
        *(
            ([f"reference={of}", f"chain.{name}.run=abc"], f"chain.{name}.run=abc: there is no such run")
            for name, of in (("tokenizer", "ssl"), ("features", "supervised"), ("diffusion", "diffusion_state"))
        ),
        *(
            ([f"chain.teacher.overrides=['{text}']"], f"chain.teacher.overrides: {text}: is the same for all runs")
            for text in ("seed=5", "scale=paper", "reference=gmm", "reference.samples=9", "+chain.encoder.run=a")
        ),
        *(
            ([f"chain.encoder.overrides=['{text}']"], f"chain.encoder.overrides: {text}: {why}")
            for text, why in {
                "runtime.threads=2": "is the same for all runs of a chain; give it to the command itself",
                "quiet=true": "is the same for all runs of a chain; give it to the command itself",
                "tracker=wandb": "is the same for all runs of a chain; give it to the command itself",
                "snapshot=1": "is for an evaluation, and this run is only trained; give it to the command itself",
                "dataset@test_on=mnist": "is for an evaluation, and this run is only trained",
                "suite=noise": "is for an evaluation, and this run is only trained",
                "latents.flip=true": "the run stores no latents",
            }.items()
        ),
        (
            ["chain.encoder.overrides=['model.input_shape=[1,14,14]']"],
            "chain.encoder.overrides: model.input_shape=[1, 14, 14]: those of all runs of a chain are [1, 28, 28]",
        ),
        (
            ["chain.encoder.overrides=['dataset.shape=[1,14,14]']"],
            "chain.encoder.overrides: dataset.shape=[1, 14, 14]: those of all runs of a chain are [1, 28, 28]",
        ),
        (
            ["chain.reference.overrides=['reference.samples=9']"],
            "chain.reference.overrides=['reference.samples=9']: reference is of the kind reference, no training; its",
        ),
        (
            ["chain.tokenizer_latents.experiment=dmvae/ssl"],
            "chain.tokenizer_latents.experiment=dmvae/ssl: tokenizer_latents is of the kind latents, no training",
        ),
        (
            ["reference=gmm", "chain.teacher.overrides=['model.classes=5']"],
            "chain.teacher: model.classes=5: is 0 here, it follows from what the model builds on; leave it out",
        ),
        (
            ["chain.encoder.experiment=dmvae/tokenizer", "chain.encoder.overrides=[]"],
            "chain.tokenizer: chain.encoder: FeatureAutoencoder is no encoder by itself; name a run of ssl or superv",
        ),
        (
            ["chain.encoder.experiment=batchtopk/ae_256", "chain.encoder.overrides=[]"],
            "chain.tokenizer: chain.encoder: Autoencoder is no encoder by itself; name a run of ssl or supervised",
        ),
        (["parent.experiment=dmvae/ssl"], "parent.experiment=dmvae/ssl: FeatureLearner is no feature autoencoder to b"),
        (["parent.link=encoder"], "chain.encoder: FeatureLearner is no feature autoencoder to begin with; name a run"),
        (["chain.teacher.overrides=['model.latent_shape=[1,2,3]']"], "chain.teacher: model.latent_shape=[1, 2, 3]: "),
        (["chain.teacher.overrides=['parent.link=a']"], "unknown chain.teacher: parent.link 'a'"),
        (["parent.overrides=['seed=1']"], "parent.overrides=['seed=1']: there is no parent; name parent.experiment"),
        (["parent.link=plain", "parent.overrides=['seed=1']"], "parent.overrides=['seed=1']: give them to chain.plain"),
        (["model.score={width: 8}"], "model.score: leave it out, it is filled in; set the model options in chain.tea"),
        (["model.law={kind: gaussian}"], "model.law: leave it out, it is filled in; set the options of reference"),
        (
            ["chain.teacher.experiment=dmvae/tokenizer", "chain.teacher.overrides=[]"],
            "chain.teacher: FeatureAutoencoder is no latent diffusion model",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(overrides, message):
    with pytest.raises(UserError) as error:
        chain(*overrides)
    assert message in str(error.value)
    assert len(error.value.lines) == 1


@composed
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((20, 9), np.float32), "have 9 numbers"),
        (np.full((20, 16), np.nan, np.float32), "row 0, counted from 0, holds a number that is not finite"),
        (np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32), "has only 20 training items"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(home, tmp_path, vectors, message):
    path = tmp_path / "own.npy"
    np.save(path, vectors)
    wanted = distinct(chain("reference=file", f"reference.path={path}"))
    do(home, *wanted[:2])
    assert message in " ".join(work(Store(home).open(one)).reason for one in wanted[2:4])


@composed
def test_a_collapse_ends_the_training_and_names_the_step(home):
    *before, joint = chain("reference=gaussian", "reference.samples=64", "model.floor=1000")
    do(home, *before)
    reason = failed(home, joint)
    assert "autoencoder/latent_std is below 1000 at step 1: the latents have collapsed" in reason


@composed
def test_a_model_without_an_experiment_begins_with_the_tokenizer_and_asks_for_a_reference():
    with pytest.raises(UserError, match="reference=null: choose what latents are matched with: diffusion_state, file"):
        training(configurations("train", ["model=dmvae", "dataset=digits"], sweep=False)[0])
    without = ["experiment=dmvae/joint", "dataset=digits", "chain=null"]
    with pytest.raises(UserError, match=r"link=joint: there is no chain; choose one: dmvae \(chain=NAME\)"):
        training(configurations("train", without, sweep=False)[0])
    for words, message in ((["link=a"], r"link=a: there is no chain"), (["chain=dmvae", "link=a"], "unknown link 'a'")):
        with pytest.raises(UserError, match=message):
            checked(configurations("train", ["model=rcvae", "dataset=tiny", *words], sweep=False)[0])
    for words, named in (
        (["parent.run=nothere"], "parent.run"),
        (["parent.experiment=dmvae/ssl", "parent.overrides=['seed=1']"], "parent.experiment, parent.overrides"),
        (["chain=dmvae", "link=joint"], "chain, link"),
    ):
        with pytest.raises(UserError, match=f"^{named}: a model of texts builds on no other run; leave this out$"):
            checked(configurations("train", ["model=rcvae", "dataset=tiny", *words], sweep=False)[0])
    words = ["model=dmvae", "dataset=digits", "reference=gaussian"]
    found = training(configurations("train", words, sweep=False)[0])
    assert found[-1]["parents"]["start"] == found[1].key


def test_options_of_a_link_that_nothing_needs_are_refused(run):
    idle = "chain.diffusion.overrides=['train.max_steps=5']"
    matched = ["experiment=dmvae/joint", "dataset=digits"]
    for words in (["train", *matched, idle], ["eval", "suite=reconstruction", *matched, idle]):
        assert f"error: {idle}: diffusion is not needed here; leave it out" in run.failed(*words)
    with session():
        sweep = configurations("train", [*matched, "reference=gmm,diffusion_state", idle], sweep=True)
        check_links([idle], sweep)  # one point needs it
        with pytest.raises(UserError, match="diffusion is not needed here"):
            check_links([idle], sweep[:1])


def test_a_chain_is_chosen_by_its_name_and_a_run_in_it_by_its_key(run):
    words = ["model=dmvae", "dataset=digits", "chain=dmvae", "link=joint", "chain.teacher.run=12e345678901"]
    assert "run: '12e345678901'" in run.done("train", "--cfg", "job", *words)
    assert "tokenizer_latents" in run.done("list", "chains")
    error = run.failed("train", *words[:-1], "reference=gaussian", "chain.joint.overrides=['model.guidance=2']")
    assert "chain.joint.overrides: joint is the run that is made; give its options to the command itself" in error


def test_a_mistake_in_a_run_of_the_chain_says_which(run):
    options = [option for option in JOINT if not option.startswith(UNNEEDED)]
    error = run.failed("train", *options, "reference=gaussian", "reference.samples=20", "quiet=true")
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        "error: train.batch_size=32: reference gaussian has only 20 training items; at most 20 (in: ldm "
    )


def test_every_mistake_of_a_chain_names_its_link(run):
    options = [option for option in JOINT if not option.startswith((*UNNEEDED, "chain.t"))]
    wrong = ["chain.encoder.overrides=['model.temperature=-1']", "chain.tokenizer.overrides=['model.kl_weight=-1']"]
    encoder, tokenizer = run.refused("train", *options, *wrong, "reference=gmm", lines=2).splitlines()
    assert encoder.startswith("error: chain.encoder: model.temperature=-1: expected")
    assert tokenizer.startswith("error: chain.tokenizer: model.kl_weight=-1: expected")
    options = [option for option in JOINT if not option.startswith((*UNNEEDED, "chain.teacher"))]
    error = run.refused("train", *options, "reference=gmm", "chain.teacher.overrides=['optim.lr=0']")
    assert error.startswith("error: chain.teacher: optim.lr=0: expected")


def test_no_valid_names_are_announced_where_there_are_none(run):
    words = ["experiment=dmvae/tokenizer", "dataset=digits", "chain.encoder.parents.foo=joint"]
    assert run.refused("train", *words) == "error: unknown option 'chain.encoder.parents.foo'"


def test_a_model_builds_on_one_run(run):
    named = ["parent.experiment=ldmae/ae", "parent.run=0123456789ab", "parent.link=joint"]
    error = run.refused("train", "model=ldm", "dataset=digits", *named)
    assert (
        error
        == "error: parent.experiment, parent.run, parent.link: a model builds on one of them; leave the others out"
    )
    error = run.refused("train", "model=ldm", "dataset=digits", "parent.run=0123456789ab", "parent.link=null")
    assert "parent.run=0123456789ab: there is no such run" in error


@composed
def test_each_model_of_a_sweep_has_its_own_chain():
    swept = configurations("train", ["model=dmvae,batchtopk,ldm", "dataset=digits", "reference=gmm"], sweep=True)
    alone = [
        configurations("train", [f"model={name}", "dataset=digits", "reference=gmm"], sweep=False)[0]
        for name in ("dmvae", "batchtopk", "ldm")
    ]
    assert swept == alone
    assert [cfg.link for cfg in swept] == ["joint", None, None]
    suites = configurations("eval", ["model=ae,ldm", "dataset=digits"], sweep=True)
    assert [cfg.suite["_target_"].split(".")[2] for cfg in suites] == ["reconstruction", "latent_diffusion"]
    with pytest.raises(UserError) as error:
        configurations("train", ["model=batchtopk,pca", "model.k=4", "seed=a,b"], sweep=True)
    assert len(error.value.lines) == 3


def test_a_command_trains_the_whole_chain(run):
    options = [option for option in JOINT if not option.startswith(UNNEEDED)]
    run.done("train", *options, "reference=gaussian", "reference.samples=64", "quiet=true")
    shown = run.done("list", "runs")
    assert "dmvae" in shown
    assert "gaussian for latents of" in shown
