"""A hub on this machine: answers the requests of Hugging Face's client as the real one does, for made-up repositories."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Repository:
    """What the hub has under an id.

    Attributes:
        folder: its files.
        refuses: the status with which files are refused to those without a licence, or None.
        commit: of its only revision.
    """

    folder: Path
    refuses: int | None = None
    commit: str = "fedcba9876543210fedcba9876543210fedcba98"


@dataclass
class Hub:
    """The repositories by id, and what has been asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers while the context lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = self.path.strip("/").split("?")[0].split("/")
            is_api = parts[:2] == ["api", "models"]
            owner, name, *rest = parts[2:] if is_api else parts
            repository = hub.repositories.get(f"{owner}/{name}")
            if repository is None:
                # The real hub doesn't tell strangers whether a private repository exists.
                return self._send(401, {"X-Error-Code": "RepoNotFound"})
            if len(rest) > 1 and rest[1] not in ("main", repository.commit):
                return self._send(404, {"X-Error-Code": "RevisionNotFound"})
            if is_api:
                files = sorted(path.name for path in repository.folder.iterdir())
                info = {
                    "id": f"{owner}/{name}",
                    "sha": repository.commit,
                    "siblings": [{"rfilename": f} for f in files],
                }
                return self._send(200, {"Content-Type": "application/json"}, json.dumps(info).encode())
            if repository.refuses is not None:
                return self._send(repository.refuses, {"X-Error-Code": "GatedRepo"})
            path = repository.folder / rest[2]
            if not path.is_file():
                return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
            content = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repository.commit}
            return self._send(200, headers, content, body)

        def _send(self, status: int, headers: dict[str, str], content: bytes = b"", body: bool = True) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body and self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
