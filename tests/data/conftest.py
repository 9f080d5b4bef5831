"""Folders and a web server of our own in place of the caller's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vaebench.config import origins
from vaebench.data import fetch


@dataclass(frozen=True)
class Places:
    """``given`` is $VAEBENCH_DATA, ``cache`` $VAEBENCH_CACHE; neither exists yet."""

    given: Path
    cache: Path


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    found = Places(tmp_path / "given", tmp_path / "cache")
    monkeypatch.setenv("VAEBENCH_DATA", str(found.given))
    monkeypatch.setenv("VAEBENCH_CACHE", str(found.cache))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    fetch.at_hand.cache_clear()
    yield found
    fetch.at_hand.cache_clear()


Put = Callable[[Path, dict[str, bytes]], dict[str, dict[str, str]]]


@pytest.fixture
def put() -> Put:
    """Writes files (role -> content), named by their roles, and returns what a YAML says of them."""

    def write(folder: Path, contents: dict[str, bytes]) -> dict[str, dict[str, str]]:
        folder.mkdir(parents=True, exist_ok=True)
        for role, content in contents.items():
            (folder / role).write_bytes(content)
        return {
            role: {"file": role, "sha256": hashlib.sha256(content).hexdigest()} for role, content in contents.items()
        }

    return write


@dataclass
class Mirror:
    """A web server for ``folder``. ``cut``: files of which half of the bytes are sent. ``served``: what was asked."""

    folder: Path
    url: str
    cut: set[str]
    served: list[str]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    found = Mirror(folder, "", set(), [])

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(folder), **options)

        def do_GET(self):
            name = self.path.removeprefix("/")
            found.served.append(name)
            if name not in found.cut:
                super().do_GET()
                return
            content = (folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty conf/dataset folder of our own with one embedded dataset in it."""
    folder = tmp_path / "conf"
    (folder / "dataset").mkdir(parents=True)
    (folder / "dataset" / "own.yaml").write_text("{_target_: vaebench.data.images.digits, name: own, shape: [1, 8, 8]}")
    monkeypatch.setattr(origins, "conf_dir", lambda: folder)
    return folder / "dataset"
