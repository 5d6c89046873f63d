"""A model hub on this machine: repositories with branches, pull requests and commits, over the hub's own protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.serving import serving

Files = dict[str, bytes]
GONE = 0


def files_of(folder: Path) -> Files:
    """A model folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@dataclass
class FakeHub:
    """What is on the hub. A `status` but 200 is what every request gets instead; `GONE` breaks the connection."""

    url: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)
    _commits: dict[tuple[str, str], Files] = field(default_factory=dict)
    _refs: dict[tuple[str, str], str] = field(default_factory=dict)

    def push(self, repository: str, files: Files, ref: str = "main") -> str:
        """Put these files at the tip of a branch; its commit."""
        content = repr(sorted(files.items())).encode()
        commit = hashlib.sha1(content + ref.encode(), usedforsecurity=False).hexdigest()
        self._commits[repository, commit] = files
        self._refs[repository, ref] = commit
        return commit

    def find(self, repository: str, revision: str) -> tuple[str, Files] | None:
        """The commit that a revision stands for, and its files."""
        commit = self._refs.get((repository, revision), revision)
        files = self._commits.get((repository, commit))
        return None if files is None else (commit, files)

    def has(self, repository: str) -> bool:
        """Whether there is such a repository."""
        return any(name == repository for name, _ in self._refs)


class HubServer(ThreadingHTTPServer):
    """The server of a hub."""

    hub: FakeHub
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its server has."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        self.server.hub.asked.append(f"{self.command} {unquote(self.path)}")

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self.server.hub.status == GONE:
            self.close_connection = True
        elif self.server.hub.status != 200:
            self._send(self.server.hub.status, b"", {})
        elif parts[:2] == ["api", "models"]:
            self._api(f"{parts[2]}/{parts[3]}", "/".join(parts[5:]) or "main")
        elif parts[2:3] == ["resolve"]:
            # A pull request's name has slashes: refs/pr/7.
            self._file("/".join(parts[:2]), "/".join(parts[3:-1]), parts[-1])
        else:
            self._send(404, b"", {})

    def _api(self, repository: str, revision: str) -> None:
        found = self.server.hub.find(repository, revision)
        if found is None:
            self._missing(repository)
            return
        commit, files = found
        siblings = [{"rfilename": name} for name in files]
        body = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": []}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, revision: str, name: str) -> None:
        found = self.server.hub.find(repository, revision)
        if found is None:
            self._missing(repository)
            return
        commit, files = found
        if name not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        tag = hashlib.sha256(files[name]).hexdigest()
        self._send(200, files[name], {"ETag": f'"{tag}"', "X-Repo-Commit": commit})

    def _missing(self, repository: str) -> None:
        code = "RevisionNotFound" if self.server.hub.has(repository) else "RepoNotFound"
        self._send(404, b"", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A hub that answers until the block ends."""
    server = HubServer(("127.0.0.1", 0), Handler)
    server.hub = FakeHub(f"http://127.0.0.1:{server.server_port}")
    with serving(server):
        yield server.hub
