from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vaebench.cli.listing import data as command
from vaebench.cli.main import main
from vaebench.config.choices import choices, leaf
from vaebench.data import fetch, files
from vaebench.errors import UserError

FILES = {"train": b"training images", "test": b"test images"}
GIVEN = os.environ.get("VAEBENCH_DATA", "")
DEAD = "http://127.0.0.1:9/"  # the discard port: refused at once


def write(conf: Path, name: str, **fields) -> None:
    (conf / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "shape": [1, 6, 5], **fields}, sort_keys=False))


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".lock")}


# Where files are found


def test_the_given_folder_comes_before_the_cache(places, put):
    files = put(places.given / "toy", {"a": b"a"})
    put(places.cache / "toy", {"a": b"a"})
    located = fetch.obtain(name="toy", files=files)
    assert located.paths == {"a": places.given / "toy" / "a"}
    assert located.source == "VAEBENCH_DATA"


def test_what_the_given_folder_lacks_comes_from_the_cache(places, put):
    files = put(places.given / "toy", {"a": b"a"}) | put(places.cache / "toy", {"b": b"b"})
    located = fetch.obtain(name="toy", files=files)
    assert located.paths == {"a": places.given / "toy" / "a", "b": places.cache / "toy" / "b"}
    assert located.source == "download"


def test_the_cache_is_under_the_home_folder_by_default(monkeypatch, tmp_path, put):
    monkeypatch.delenv("VAEBENCH_CACHE")
    monkeypatch.delenv("VAEBENCH_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    files = put(tmp_path / ".cache" / "vaebench" / "toy", {"a": b"a"})
    assert fetch.obtain(name="toy", files=files).source == "download"


@pytest.mark.parametrize(
    ("place", "remedy"), [("given", "put the right file there"), ("cache", "vaebench data fetch toy")]
)
def test_a_wrong_hash_is_named_and_the_file_left_alone(places, place, remedy, put):
    folder = getattr(places, place) / "toy"
    files = put(folder, {"a": b"whole"})
    (folder / "a").write_bytes(b"who")
    with pytest.raises(UserError) as error:
        fetch.obtain(name="toy", files=files, mirrors=[DEAD])
    message = str(error.value)
    found = hashlib.sha256(b"who").hexdigest()
    for part in (str(folder / "a"), files["a"]["sha256"], found, remedy):
        assert part in message
    assert listing(folder) == {"a": b"who"}


def test_missing_and_no_network_says_where_it_looked_and_what_to_do(places):
    with pytest.raises(UserError) as error:
        fetch.obtain(name="mnist", files={"a": {"file": "a.gz", "sha256": "0" * 64}}, mirrors=[DEAD])
    message = str(error.value)
    assert len(error.value.lines) == 1
    for part in ("a.gz", str(places.given / "mnist"), str(places.cache / "mnist"), DEAD, "Connection refused"):
        assert part in message
    for part in ("Set VAEBENCH_DATA", "vaebench data fetch mnist", "dataset=digits"):
        assert part in message
    assert listing(places.cache / "mnist") == {}


def test_a_cache_that_cannot_be_made_is_an_error_of_the_user(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*set VAEBENCH_CACHE"):
        fetch.obtain(name="toy", files={"a": {"file": "a", "sha256": "0"}}, mirrors=[DEAD])


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("../toy", {"file": "a", "sha256": "0"}, "must be a plain name"),
        ("toy", {"file": "../a", "sha256": "0"}, "must be a plain name"),
        ("toy", {"file": "a"}, "must have the fields file and sha256"),
        ("toy", {"file": "a", "sha256": "0", "sha1": "0"}, "must have the fields file and sha256"),
        ("toy", "a", "must have the fields file and sha256"),
    ],
)
def test_files_are_described_and_stay_in_their_folder(name, entry, message):
    with pytest.raises(UserError, match=message):
        fetch.obtain(name=name, files={"a": entry})


# Downloads, from a server on this machine


def test_download_into_the_cache_once(places, mirror, put):
    files = put(mirror.folder, {"a": b"a" * 1000})
    for _ in range(2):
        located = fetch.obtain(name="toy", files=files, mirrors=[mirror.url])
        assert located.source == "download"
        assert located.paths["a"].read_bytes() == b"a" * 1000
    asked = len(mirror.served)
    fetch.obtain(name="toy", files=files, mirrors=[mirror.url])
    assert len(mirror.served) == asked
    assert listing(places.cache / "toy") == {"a": b"a" * 1000}
    assert not places.given.exists()


def test_a_mirror_is_a_web_address(mirror, put):
    files = put(mirror.folder, {"a": b"a"})
    with pytest.raises(UserError, match="not an address that begins with http"):
        fetch.obtain(name="toy", files=files, mirrors=[mirror.folder.as_uri()])


def test_an_interrupted_download_is_never_a_file(places, mirror, put):
    files = put(mirror.folder, {"a": b"a" * 100_000})
    mirror.cut.add("a")
    with pytest.raises(UserError, match=r"cannot be downloaded.*it broke off, 50,000 bytes before the end"):
        fetch.obtain(name="toy", files=files, mirrors=[mirror.url])
    assert listing(places.cache / "toy") == {}


def test_the_next_mirror_is_tried(places, mirror, put):
    files = put(mirror.folder, {"a": b"a"})
    assert (
        fetch.obtain(name="toy", files=files, mirrors=[DEAD, f"{mirror.url}nowhere/", mirror.url]).source == "download"
    )
    with pytest.raises(UserError, match=r"Connection refused.*404"):
        fetch.obtain(name="toy", files={"b": {"file": "b", "sha256": "0"}}, mirrors=[DEAD, mirror.url])


def test_another_file_than_promised_is_not_taken(places, mirror, put):
    files = put(mirror.folder, {"a": b"a"})
    (mirror.folder / "a").write_bytes(b"other")
    with pytest.raises(UserError, match=f"it delivered a file with sha256 .* instead of {files['a']['sha256']}"):
        fetch.obtain(name="toy", files=files, mirrors=[mirror.url])
    assert listing(places.cache / "toy") == {}


@pytest.mark.network
def test_a_real_mirror(places):
    mnist = leaf("dataset", "mnist")
    labels = {"test_labels": mnist["files"]["test_labels"]}
    assert fetch.obtain(name="mnist", files=labels, mirrors=mnist["mirrors"]).source == "download"


def test_what_a_killed_download_left_is_not_taken(places, mirror, put):
    files = put(mirror.folder, {"a": b"whole"})
    put(places.cache / "toy", {".a.part": b"who"})
    assert fetch.obtain(name="toy", files=files, mirrors=[mirror.url]).paths["a"].read_bytes() == b"whole"
    assert listing(places.cache / "toy") == {"a": b"whole"}


def test_two_processes_download_once(places, mirror, put):
    files = put(mirror.folder, {"a": b"a" * 1_000_000})
    code = f"from vaebench.data.fetch import obtain; obtain(name='toy', files={files}, mirrors=[{mirror.url!r}])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert mirror.served == ["a"]
    assert listing(places.cache / "toy") == {"a": b"a" * 1_000_000}


# The datasets of the configuration


def test_states_and_origins(conf, places, mirror, put):
    write(conf, "toy", files=put(mirror.folder, FILES), mirrors=[mirror.url])
    write(conf, "gone", files={"a": {"file": "a", "sha256": "0"}})
    assert [fetch.available(name) for name in ("own", "toy", "gone")] == ["embedded", "downloadable", "unavailable"]
    assert {entry.state for entry in fetch.status("toy").files} == {"missing"}
    assert fetch.status("own") == fetch.DatasetStatus("own", "embedded", (), partial=False)
    found = fetch.fetch("toy")
    assert found.origin == fetch.available("toy") == "cache"
    assert [entry.file for entry in found.files] == ["train", "test"]
    assert found.files[0] == fetch.FileStatus("train", "present", places.cache / "toy" / "train")
    put(places.given / "toy", FILES)
    assert fetch.available("toy") == "VAEBENCH_DATA"


def test_the_network_is_not_asked_for_what_is_here(conf, places, mirror, put):
    write(conf, "toy", files=put(places.given / "toy", FILES), mirrors=[mirror.url])
    assert fetch.available("toy") == "VAEBENCH_DATA"
    assert fetch.at_hand("toy")
    assert fetch.verify("toy").origin == "VAEBENCH_DATA"
    assert not mirror.served


def test_what_is_to_be_used_is_brought_here_or_not_at_hand(conf, places, mirror, put):
    write(conf, "toy", files=put(mirror.folder, FILES), mirrors=[mirror.url])
    write(conf, "dead", files=put(mirror.folder, FILES), mirrors=[DEAD])
    write(conf, "gone", files=put(mirror.folder, FILES))
    assert [fetch.at_hand(name) for name in ("own", "toy", "dead", "gone")] == [True, True, False, False]
    assert listing(places.cache / "toy") == FILES


def test_a_corrupt_file_is_seen_by_verify_and_mended_in_the_cache_only(conf, places, mirror, put):
    files = put(mirror.folder, FILES)
    write(conf, "toy", files=files, mirrors=[mirror.url])
    fetch.fetch("toy")
    (places.cache / "toy" / "train").write_bytes(b"cut")
    assert [entry.state for entry in fetch.status("toy").files] == ["present", "present"]
    assert [entry.state for entry in fetch.verify("toy").files] == ["corrupt", "present"]
    assert command(["verify"]) == 1
    assert [entry.state for entry in fetch.fetch("toy").files] == ["present", "present"]
    put(places.given / "toy", {"train": b"cut"})
    with pytest.raises(UserError, match="put the right file there"):
        fetch.fetch("toy")
    assert listing(places.given / "toy") == {"train": b"cut"}


def test_a_part_of_a_set_counts_where_the_whole_is_not(conf, places, mirror, put):
    part = put(places.given / "toy", {"part": b"part"})
    write(conf, "toy", files=put(mirror.folder, {"whole": b"whole"}), partial=part, mirrors=[mirror.url])
    found = fetch.status("toy")
    assert (found.origin, found.partial, [entry.file for entry in found.files]) == ("VAEBENCH_DATA", True, ["part"])
    found = fetch.fetch("toy")
    assert (found.origin, found.partial, [entry.file for entry in found.files]) == ("cache", False, ["whole"])


def test_command_prints_every_dataset_and_says_what_is_wrong(conf, places, capsys, monkeypatch, put):
    monkeypatch.setenv("COLUMNS", "300")
    write(conf, "toy", files=put(places.given / "toy", FILES), mirrors=[DEAD])
    write(conf, "gone", files={"a": {"file": "a", "sha256": "0"}})
    assert command([]) == 0
    out = capsys.readouterr().out
    for word in (
        "own",
        "embedded",
        "toy",
        "VAEBENCH_DATA",
        str(places.given / "toy"),
        "gone",
        "unavailable",
        "missing",
    ):
        assert word in out
    assert command(["verify"]) == 0
    assert command(["verify", "gone"]) == 1
    for words, message in (
        (["statsu"], "did you mean 'status'"),
        (["verify", "tyo"], "did you mean 'toy'"),
        (["fetch"], "which dataset"),
    ):
        with pytest.raises(UserError, match=message):
            command(words)


# Several folders in VAEBENCH_DATA


def test_the_first_root_that_has_a_file_counts(conf, places, put, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("VAEBENCH_DATA", f"{first}{os.pathsep}{os.pathsep}{second}")
    described = put(second / "toy", FILES)
    write(conf, "toy", files=described)

    def used() -> set[Path]:
        located = fetch.obtain(name="toy", files=described)
        assert located.source == "VAEBENCH_DATA"
        return {path.parent for path in located.paths.values()}

    assert used() == {second / "toy"}
    assert f"VAEBENCH_DATA: {second} " in run.done("list", "datasets")
    assert run("data", "status", "toy").out.count(str(second / "toy")) == 1
    put(first / "toy", {"train": FILES["train"]})
    assert used() == {first / "toy", second / "toy"}
    assert fetch.whence("toy") == f"VAEBENCH_DATA: {first}, {second}"
    put(first / "toy", FILES)
    assert used() == {first / "toy"}
    monkeypatch.setenv("VAEBENCH_DATA", str(second))
    assert fetch.whence("toy") == "VAEBENCH_DATA"


def test_the_first_root_that_has_a_set_of_folders_counts(conf, tmp_path, monkeypatch):
    roots = [tmp_path / name for name in ("first", "second")]
    monkeypatch.setenv("VAEBENCH_DATA", os.pathsep.join(map(str, roots)))
    write(conf, "toy", splits={"train": ["train"], "test": ["test"]})
    (roots[0] / "toy" / "test").mkdir(parents=True)
    for root in reversed(roots):
        (root / "toy" / "test").mkdir(parents=True, exist_ok=True)
        (root / "toy" / "test" / "a.png").write_bytes(b"a")
        assert fetch.status("toy").files[0].where == root / "toy"
        assert fetch.whence("toy") == f"VAEBENCH_DATA: {root}"


def test_roots_that_are_not_there_are_named_in_one_line(tmp_path, monkeypatch, capsys):
    names = [str(tmp_path), str(tmp_path / "gone"), str(tmp_path / "lost")]
    monkeypatch.setenv("VAEBENCH_DATA", os.pathsep.join(names))
    for words, said in ((["data", "status", "mnist"], 1), (["list", "datasets"], 1), (["list", "models"], 0)):
        assert main(words) == 0
        assert capsys.readouterr().err == f"warning: VAEBENCH_DATA: {names[1]}, {names[2]}: no such folder\n" * said
    with pytest.raises(UserError) as error:
        fetch.obtain(name="toy", files={"a": {"file": "a", "sha256": "0"}})
    assert all(f"{name}/toy (VAEBENCH_DATA)" in str(error.value) for name in names)


# Sets of ordinary folders


def test_a_set_of_folders_is_there_with_its_first_file(conf, places):
    write(conf, "toy", splits={"train": ["train"], "test": ["val|test"]})
    assert fetch.available("toy") == "unavailable"
    assert fetch.status("toy").files == (fetch.FileStatus("toy/", "missing", None),)
    (places.cache / "toy" / "train").mkdir(parents=True)
    (places.given / "toy" / "val" / "inner").mkdir(parents=True)
    assert fetch.available("toy") == "unavailable"
    (places.cache / "toy" / "train" / "a.png").write_bytes(b"a")
    assert fetch.available("toy") == "cache"
    (places.given / "toy" / "val" / "inner" / "b.png").write_bytes(b"b")
    found = fetch.fetch("toy")
    assert (found.origin, found.partial) == ("VAEBENCH_DATA", True)  # without train
    bad = places.given / "toy" / "val" / "inner" / "b.png"
    assert fetch.status("toy").files == (fetch.FileStatus("toy/", "present", places.given / "toy"),)
    assert found.files[1:] == (fetch.FileStatus("b.png: it is no JPEG, PNG, WebP or BMP picture", "corrupt", bad),)
    (places.given / "toy" / "train").mkdir()
    assert not fetch.verify("toy").partial


def test_a_set_of_folders_is_one_line_and_never_downloaded(conf, places, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    write(conf, "toy", splits={"train": ["train"], "test": ["val|test"]})
    assert command(["status", "toy"]) == 0
    assert capsys.readouterr().out.count("toy/") == 1
    assert command(["verify", "toy"]) == 1
    with pytest.raises(UserError) as error:
        command(["fetch", "toy"])
    message = str(error.value)
    for words in ("train, val or test", str(places.given / "toy"), "nothing is downloaded", "choose dataset=own"):
        assert words in message
    assert "dataset=toy" not in message


def test_only_sets_of_the_same_kind_are_offered(conf):
    write(conf, "noise", data="audio")
    write(conf, "speech", data="audio", splits={"train": ["a"], "test": ["b"]})
    with pytest.raises(UserError, match=r"or choose dataset=noise$"):
        fetch.fetch("speech")


def test_splits_that_are_none(conf):
    write(conf, "toy", splits={"train": ["a"]})
    with pytest.raises(UserError, match="dataset toy: splits must be train and test"):
        fetch.available("toy")


@pytest.mark.parametrize("text", ["name: other", "- a", "{", ""])
def test_a_yaml_that_is_no_dataset(conf, text):
    (conf / "toy.yaml").write_text(text)
    with pytest.raises(UserError, match=r"conf/dataset/toy\.yaml"):
        fetch.status("toy")


def test_asking_does_not_import_torch():
    code = "import sys, vaebench.data.fetch as f; f.status('digits'); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode == 0


# Problems and answers: a dataset of two parts


def compose(conf: Path, name: str, problems: str, answers: str) -> None:
    defaults = [{"/problems@problems": problems}, {"/answers@answers": answers}]
    (conf / f"{name}.yaml").write_text(yaml.safe_dump({"defaults": defaults, "name": name}))


def part(conf: Path, group: str, name: str, **fields) -> None:
    folder = conf.parent / group
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **fields}, sort_keys=False))


def test_a_composed_dataset_has_the_files_of_its_parts(conf, places, mirror, put):
    sums = put(places.given / "sums", {"train": b"1", "test": b"2"})
    asked = {"asked": {"folder": "said/toy"} | put(places.given / "said" / "toy", {"asked": b"3"})["asked"]}
    part(conf, "problems", "sums", folder="sums", files=sums | asked)
    part(
        conf, "answers", "said", folder="said/toy", files=put(mirror.folder, {"a": b"4"}) | asked, mirrors=[mirror.url]
    )
    part(conf, "answers", "made", language_model="tiny")
    compose(conf, "toy", "sums", "said")
    compose(conf, "asks", "sums", "made")
    assert files.parts("toy") == {"problems": "sums", "answers": "said"}
    assert files.parts("own") == {}
    found = fetch.status("toy")
    assert [(entry.file, entry.state) for entry in found.files] == [
        *[(name, "present") for name in ("train", "test", "asked")],
        ("a", "missing"),
    ]
    assert [fetch.available(name) for name in ("toy", "asks")] == ["downloadable", "VAEBENCH_DATA"]
    assert fetch.fetch("toy").origin == "cache"
    assert listing(places.cache / "said" / "toy") == {"a": b"4"}
    located = fetch.obtain(name="other", folder="sums", files=sums | asked)
    assert located.source == "VAEBENCH_DATA"
    assert located.paths["asked"] == places.given / "said" / "toy" / "asked"


def test_one_part_that_cannot_be_had_decides(conf, mirror, put):
    gone = {"a": {"file": "gone", "sha256": "0"}}
    part(conf, "problems", "sums", folder="sums", files=put(mirror.folder, {"sums": b"1"}), mirrors=[mirror.url])
    part(conf, "answers", "gone", folder="said", files=gone)
    part(conf, "problems", "drawn")
    part(conf, "answers", "made")
    for name, problems, answers in (
        ("gone", "sums", "gone"),
        ("sums", "sums", "made"),
        ("tiny", "drawn", "made"),
    ):
        compose(conf, name, problems, answers)
    states = {name: fetch.available(name) for name in ("gone", "sums", "tiny")}
    assert states == {"gone": "unavailable", "sums": "downloadable", "tiny": "embedded"}
    with pytest.raises(UserError) as error:
        fetch.fetch("gone")
    message = str(error.value)
    for words in ("gone: gone is not here", "said/gone", "no mirror, since none is named", "or choose dataset=tiny"):
        assert words in message
    assert "data fetch" not in message
    assert "dataset=own" not in message


@pytest.mark.parametrize("folder", ["../toy", "/toy", "toy/../..", "a//b", "", ".", "..", "a\\b", 5])
def test_folders_stay_in_the_data_folder(conf, places, put, folder):
    entry = put(places.given / "toy", {"a": b"a"})["a"]
    if folder:
        part(conf, "problems", "sums", folder=folder, files={"a": entry})
        part(conf, "answers", "made")
        compose(conf, "toy", "sums", "made")
        with pytest.raises(UserError, match="must lie in the data folder"):
            fetch.available("toy")
        with pytest.raises(UserError, match="must lie in the data folder"):
            fetch.obtain(name="toy", files={"a": entry | {"folder": folder}})
    with pytest.raises(UserError, match="must be a plain name"):
        fetch.obtain(name="toy", files={"a": entry | {"file": folder}})


def test_a_composed_dataset_names_parts_that_exist(conf):
    part(conf, "problems", "sums")
    part(conf, "answers", "made")
    compose(conf, "toy", "sum", "made")
    with pytest.raises(UserError, match="unknown problems 'sum'; did you mean 'sums'"):
        fetch.available("toy")
    (conf / "toy.yaml").write_text("{name: toy, defaults: [_self_, {/problems@problems: sums}]}")
    with pytest.raises(UserError, match="must name both /problems@problems and /answers@answers"):
        fetch.available("toy")


def test_the_command_shows_a_folder_once(conf, places, put, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    write(conf, "toy", files=put(places.given / "toy", FILES))
    assert command(["status", "toy"]) == 0
    assert capsys.readouterr().out.count(str(places.given / "toy")) == 1


def test_every_dataset_of_ours_is_well_described():
    for name in choices("dataset"):
        described = files.specification(name).files
        assert all(len(entry.sha256) == 64 for entry in described)
        assert len({(entry.folder, entry.file) for entry in described}) == len(described)


@pytest.mark.skipif(not GIVEN, reason="VAEBENCH_DATA is not set")
@pytest.mark.parametrize("name", ["openai_gsm8k", "zeroeval_gsm", "zeroeval_math_l5", "qwen25math_100"])
def test_the_files_at_hand_are_the_right_ones(monkeypatch, name):
    monkeypatch.setenv("VAEBENCH_DATA", GIVEN)
    if {entry.state for entry in fetch.status(name).files} == {"present"}:
        assert {entry.state for entry in fetch.verify(name).files} == {"present"}
