"""Runs in a store elsewhere: a folder behind a URL, and an object store on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from chains import do, files, frozen
from vaebench.runs.store import Run, Store

SMALL = "model=ae model.latent_dim=4 model.hidden=[16] dataset=digits train.max_steps=2".split()


@pytest.fixture
def trained(home: Path) -> Run:
    return do(home, frozen(*SMALL))[0]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/elsewhere/runs"


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine's store."""
    monkeypatch.setenv("VAEBENCH_HOME", str(tmp_path / "other"))
    return tmp_path / "other"


def as_pushed(run: Run) -> dict[str, bytes]:
    return files(run) | {"status.json": run.path("status.json").read_bytes()}


def test_runs_are_pushed_with_their_evaluations_and_pulled_as_they_were(home, run, trained, url, monkeypatch, other):
    monkeypatch.setenv("VAEBENCH_HOME", str(home))
    run.done("eval", f"run={trained.key}", "suite=reconstruction")
    said = run("runs", "push", url)
    assert said.out == f"pushed: {trained.key}\n"
    assert f"pushing {trained.key}: " in said.err
    assert run.done("runs", "push", url) == f"pushed: nothing new; there already: {trained.key}\n"
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    assert run.done("runs", "pull", url, trained.key[:5]) == f"pulled: {trained.key}\n"
    assert run.done("runs", "pull", url) == f"pulled: nothing new; there already: {trained.key}\n"
    assert as_pushed(Run(other / trained.key)) == as_pushed(trained)
    assert [path.name for path in (other / ".pulled").iterdir()] == [".lock"]
    done = run("eval", f"run={trained.key}", "suite=reconstruction")
    assert done.code == 0
    assert not done.err, "nothing was computed"


def test_an_evaluation_that_came_later_is_taken_too(home, run, trained, url, monkeypatch, other):
    for store, words in ((home, ("push",)), (other, ("pull",))):
        monkeypatch.setenv("VAEBENCH_HOME", str(store))
        run.done("runs", *words, url)
    monkeypatch.setenv("VAEBENCH_HOME", str(home))
    run.done("eval", f"run={trained.key}", "suite=reconstruction")
    assert run.done("runs", "push", url) == f"pushed: {trained.key}\n"
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    run.done("runs", "pull", url)
    (evaluation,) = (trained.folder / "evals").iterdir()
    assert Run(other / trained.key / "evals" / evaluation.name).done


def test_a_push_that_breaks_off_leaves_no_run_and_goes_on(run, trained, url, monkeypatch, tmp_path, home):
    sent: list[str] = []
    put = LocalFileSystem.put_file

    def breaks(self: LocalFileSystem, path: str, target: str, *rest: object, **more: object) -> None:
        if len(sent) == 2:
            raise ConnectionError("the line is dead")
        sent.append(target)
        put(self, path, target, *rest, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", breaks)
    said = run.failed("runs", "push", url)
    assert (
        said.splitlines()[-1] == f"error: {url}: ConnectionError: the line is dead; the same command goes on from here"
    )
    monkeypatch.setenv("VAEBENCH_HOME", str(tmp_path / "other"))
    assert f"{url}: holds no finished run {trained.key}" in run.refused("runs", "pull", url, trained.key)
    Path(sent[0]).write_bytes(b"a part")  # what a line that dies may leave
    monkeypatch.setenv("VAEBENCH_HOME", str(home))
    first, sent[:] = list(sent), []
    monkeypatch.setattr("tests.test_remote", breaks, raising=False) if False else None
    monkeypatch.setattr(
        LocalFileSystem, "put_file", lambda self, path, to, *a, **k: sent.append(to) or put(self, path, to)
    )
    assert run.done("runs", "push", url) == f"pushed: {trained.key}\n"
    assert first[0] in sent
    assert first[1] not in sent, "what is there is not sent again"


def test_a_pull_that_breaks_off_leaves_no_run_and_goes_on(run, trained, url, monkeypatch, other):
    monkeypatch.setenv("VAEBENCH_HOME", str(trained.root))
    run.done("runs", "push", url)
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    got: list[str] = []
    get = LocalFileSystem.get_file

    def breaks(self: LocalFileSystem, path: str, target: str, *rest: object, **more: object) -> None:
        if len(got) == 3:
            raise ConnectionError("the line is dead")
        got.append(target)
        get(self, path, target)

    monkeypatch.setattr(LocalFileSystem, "get_file", breaks)
    assert "ConnectionError: the line is dead; the same command goes on" in run.failed("runs", "pull", url)
    assert not Store(other).runs()
    first, got[:] = list(got), [""]
    monkeypatch.setattr(
        LocalFileSystem, "get_file", lambda self, path, to, *a, **k: got.append(to) or get(self, path, to)
    )
    assert run.done("runs", "pull", url) == f"pulled: {trained.key}\n"
    assert not {*first[1:]} & {*got}, "what is here is not fetched again"
    assert as_pushed(Run(other / trained.key)) == as_pushed(trained)


def test_what_is_not_what_was_pushed_is_not_taken(run, trained, url, monkeypatch, tmp_path, other):
    monkeypatch.setenv("VAEBENCH_HOME", str(trained.root))
    run.done("runs", "push", url)
    (tmp_path / "elsewhere" / "runs" / trained.key / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    said = run.failed("runs", "pull", url).splitlines()[-1]
    assert said.endswith(f"{trained.key}/model.safetensors: is not what its run was finished with; push it again")
    assert not Store(other).runs()


def test_a_run_that_was_begun_here_is_replaced(run, trained, url, monkeypatch, other):
    monkeypatch.setenv("VAEBENCH_HOME", str(trained.root))
    run.done("runs", "push", url)
    begun = Store(other).open(frozen(*SMALL))
    begun.set_status("interrupted")
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    assert run.done("runs", "pull", url) == f"pulled: {trained.key}\n"
    assert Run(other / trained.key).done


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("push", "bucket/runs"), "'bucket/runs': is no URL; write s3://bucket/runs, "),
        (("push", "nowhere://bucket"), "nowhere://bucket: Protocol not known: nowhere"),
        (("push", "memory://runs"), "store: holds no finished run"),
        (("pull", "memory://runs", "4f1c"), "memory://runs: holds no finished run 4f1c"),
        (("push",), "vaebench runs push URL [KEY ...]: expected these words"),
    ],
)
def test_mistakes_are_one_line(run, words, line):
    assert line in run.refused("runs", *words)


def test_a_missing_package_is_named(run, monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    assert "s3://a/b: a package is missing; pip install 'vaebench[remote]'" in run.refused("runs", "pull", "s3://a/b")


@pytest.mark.parametrize("verb", ["train", "reproduce"])
def test_a_store_that_is_an_address_is_refused_with_the_way(run, verb):
    said = run.failed(verb, "store=s3://bucket/runs")
    assert "is an address; a folder of this machine is wanted (`vaebench runs push URL` and `runs pull URL`" in said


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of an S3 on the loopback."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    there = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    there.start()
    host, port = there.get_host_and_port()
    for name, value in {"KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}" if name.startswith("SECRET") else f"AWS_ACCESS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("bucket")
    yield "s3://bucket/runs"
    there.stop()


def test_an_object_store(home, run, trained, bucket, other, monkeypatch):
    monkeypatch.setenv("VAEBENCH_HOME", str(home))
    assert run.done("runs", "push", bucket) == f"pushed: {trained.key}\n"
    assert run.done("runs", "push", bucket) == f"pushed: nothing new; there already: {trained.key}\n"
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    assert run.done("runs", "pull", bucket) == f"pulled: {trained.key}\n"
    assert as_pushed(Run(other / trained.key)) == as_pushed(trained)
    assert "s3://buket/runs: there is no buket, and none is made" in run.refused("runs", "push", "s3://buket/runs")
