"""``vaebench export --push`` to a stand-in of the Hugging Face hub on the loopback: the API that an upload needs."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import vaebench
from commands import VAEBENCH, python
from vaebench.runs.store import Run

huggingface_hub = pytest.importorskip("huggingface_hub")

TOKEN, ORG, NAME = "hf_right", "group", "group/pca"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: what is there, whether it is private, and what was asked, in order.

    ``large``: from how many bytes on a file goes to the store of large files; ``refuses``: a path's end -> a status.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.large: float = float("inf")
        self.refuses: dict[str, int] = {}


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        status, found = self._refused(path) or self._found(path, body)
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("X-Error-Message", found["error"])
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _refused(self, path: str) -> tuple[int, Any] | None:
        if not path.startswith("/objects/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        for end, status in self.server.refuses.items():
            if path.endswith(end):
                return status, {"error": "no luck"}
        return None

    def _found(self, path: str, body: bytes) -> tuple[int, Any]:
        hub, parts = self.server, path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        if parts[0] == "objects":
            assert hashlib.sha256(body).hexdigest() == parts[1]
            hub.objects[parts[1]] = body
            return 200, {}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]}
        repository = "/".join(parts[2:4])
        files = hub.repositories.get(repository)
        if files is None:
            return 404, {"error": "Repository not found"}
        if parts[4:] == ["preupload", "main"]:
            return 200, {"files": [self._how(one, files) for one in json.loads(body)["files"]]}
        if parts[4:] == ["commit", "main"]:
            self._commit([json.loads(line) for line in body.splitlines()], files)
            return 200, {"commitUrl": f"{hub.url}/{repository}/commit/{'0' * 40}", "commitOid": "0" * 40}
        return 200, {"id": repository, "private": hub.private[repository], "sha": "0" * 40}

    def _created(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        repository = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != ORG:
            return 403, {"error": f"You don't have the rights to create a model under {wanted['organization']!r}"}
        found = {"url": f"{self.server.url}/{repository}"}
        if repository in self.server.repositories:
            return 409, {**found, "error": "You already created this model repo"}
        self.server.repositories[repository] = {}
        self.server.private[repository] = wanted.get("visibility") == "private" or wanted.get("private") is True
        return 200, found

    def _how(self, file: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
        how = "lfs" if file["size"] >= self.server.large else "regular"
        there = files.get(file["path"])
        oid = None if there is None else hashlib.sha256(there).hexdigest() if how == "lfs" else _git_oid(there)
        return {"path": file["path"], "uploadMode": how, "shouldIgnore": False, "oid": oid}

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        there = one["oid"] in self.server.objects
        upload = {"actions": {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}}}
        return {"oid": one["oid"], "size": one["size"], **({} if there else upload)}

    def _commit(self, lines: list[dict[str, Any]], files: dict[str, bytes]) -> None:
        for value in (line["value"] for line in lines if line["key"] == "file"):
            files[value["path"]] = base64.b64decode(value["content"])
        for value in (line["value"] for line in lines if line["key"] == "lfsFile"):
            files[value["path"]] = self.server.objects[value["oid"]]
        self.server.messages += [line["value"]["summary"] for line in lines if line["key"] == "header"]


def _git_oid(content: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows one token, which may write to one organisation; the caller is logged in with it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    server = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    huggingface_hub.close_session()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run."""
    store = tmp_path_factory.mktemp("push") / "store"
    vaebench.train("model=pca", "dataset=digits", "quiet=true", store=store)
    return store


@pytest.fixture
def key(made: Path, home: Path) -> str:
    """The run, in the store where commands look."""
    shutil.copytree(made, home)
    (key,) = vaebench.runs()["run"]
    return key


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_arrives_is_what_was_exported(hub, key, home, tmp_path):
    words = ("export", key[:7], "--to", "beta", "--push", NAME)
    env = {"HF_ENDPOINT": hub.url, "VAEBENCH_HOME": str(home)}
    done = python(*VAEBENCH, *words, cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"exported: run {key} into beta, for safetensors (beta/README.md says how to load it)",
        f"pushed: {hub.url}/{NAME}",
    ]
    files = written(tmp_path / "beta")
    assert files.keys() == {"README.md", "config.json", "model.safetensors", "vaebench.json"}
    assert hub.repositories == {NAME: files}
    assert hub.private == {NAME: False}
    assert hub.messages == [f"Run {key} of vaebench {vaebench.__version__}"]


def test_large_files_and_a_push_that_failed_and_is_repeated(hub, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    words = ("export", "--push", NAME, "--private", f"--to={tmp_path / 'beta'}", key)
    hub.large, hub.refuses = 10_000, {"/commit/main": 400}
    said = run.refused(*words)
    assert said.startswith(f"error: --push {NAME}: the hub refuses it (400: no luck); ")
    assert said.endswith(f"{tmp_path / 'beta'} is written, and the same command goes on from there")
    assert hub.repositories == {NAME: {}}
    (tmp_path / "beta" / "README.md").write_text("# Ours\n")
    hub.refuses = {}
    assert run.done(*words).splitlines() == [
        f"exported before: run {key} into {tmp_path / 'beta'}, to be pushed as it stands",
        f"pushed: {hub.url}/{NAME}",
    ]
    assert hub.repositories == {NAME: written(tmp_path / "beta")}
    assert hub.repositories[NAME]["README.md"] == b"# Ours\n"
    assert hub.private == {NAME: True}
    assert sum(asked.startswith("PUT /objects/") for asked in hub.asked) == 1
    assert run.done(*words).splitlines()[1] == f"pushed: {hub.url}/{NAME}"
    assert len(hub.messages) == 1, "nothing is new, so there is nothing to commit"


def test_what_is_to_be_private_does_not_become_public(hub, key, run, tmp_path):
    hub.repositories[NAME], hub.private[NAME] = {}, False
    words = ("export", key, "--to", str(tmp_path / "beta"), "--push", NAME)
    assert f"--push {NAME}: that repository is public, so nothing was upload" in run.refused(*words, "--private")
    assert hub.repositories == {NAME: {}}
    assert run.done(*words)
    assert hub.repositories == {NAME: written(tmp_path / "beta")}


def elsewhere(monkeypatch, hub):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            NAME,
            lambda patch, hub: patch.delenv("HF_TOKEN"),
            "there is no token; log in with `hf auth login`, or set HF",
        ),
        (
            NAME,
            lambda patch, hub: patch.setenv("HF_TOKEN", "hf_old"),
            "the hub refuses the token (401); log in with `h",
        ),
        ("others/pca", lambda patch, hub: None, "the token may not write to others (403: You don't have the rights to"),
        (NAME, elsewhere, "the hub cannot be reached ("),
        (NAME, lambda patch, hub: patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True), "HF_HUB_OFFLINE"),
        (NAME, lambda patch, hub: hub.refuses.update({"/create": 503}), "the hub cannot be reached ("),
    ],
)
def test_what_the_hub_does_not_take_is_one_line_and_the_files_are_there(
    hub, key, run, tmp_path, monkeypatch, name, change, message
):
    change(monkeypatch, hub)
    said = run.refused("export", key, "--to", str(tmp_path / "beta"), "--push", name)
    assert said.startswith(f"error: --push {name}: ")
    assert message in said
    assert "and the same command goes on from there" in said
    assert "model.safetensors" in written(tmp_path / "beta")
    assert not hub.repositories


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(((f"--push={name}",), f"--push {name}: expected ORG/NAME") for name in ("pca", "a/b/c", "a/", "a b/c", "")),
        (("--push",), "vaebench export: expected KEY --to DIR [--push ORG/NAME [--private]]"),
        (("--private",), "vaebench export: expected KEY --to DIR [--push ORG/NAME [--private]]"),
        (("--push", NAME, "--public"), "vaebench export: expected KEY --to DIR"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_before_anything_is_written(hub, key, run, tmp_path, words, message):
    assert message in run.refused("export", key, "--to", str(tmp_path / "beta"), *words)
    assert not (tmp_path / "beta").exists()
    assert not hub.asked


def test_without_the_hubs_client_nothing_is_written(hub, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr("vaebench.compat.missing", lambda names: list(names))
    said = run.refused("export", key, "--to", str(tmp_path / "beta"), "--push", NAME)
    assert said == "error: --push: needs huggingface_hub; pip install 'vaebench[hub]'"
    assert not (tmp_path / "beta").exists()


def test_only_a_finished_run_is_pushed_and_into_no_other_folder(hub, key, run, tmp_path):
    words = ("--to", str(tmp_path / "beta"), "--push", NAME)
    other = vaebench.train("model=pca", "model.latent_dim=3", "dataset=digits", "quiet=true").key
    run.done("export", other, "--to", str(tmp_path / "beta"))
    assert "there is something of that name here" in run.refused("export", key, *words)
    Run(vaebench.load(other).folder).set_status("interrupted")
    assert "is interrupted, not finished" in run.refused("export", other, *words)
    assert not hub.asked
