"""A hub of small files on this machine: what huggingface_hub needs of one, with the accidents that happen to real ones.

Files are served as large ones are: the resolve address answers with commit, size and sha256, and sends to a store that
understands ranges.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """files: bytes by "owner/name/file". gated: repositories that want conditions accepted.

    cut: bytes after which the store hangs up, once per file if `heals`. liars: files whose store gives other bytes than
    the hub promises. `sent`: (file, first byte, bytes) of every answer of the store. `asked`: methods and paths.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.gated: set[str] = set()
        self.liars: set[str] = set()
        self.cut: int | None = None
        self.down = False
        self.sent: list[tuple[str, int, int]] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers inside the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.asked.append(f"{self.command} {self.path}")
        if hub.down:
            return self._end(503)
        if self.path.startswith("/store/"):
            return self._store(self.path.removeprefix("/store/"), body=body)
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository in hub.gated:
            return self._end(403, {"X-Error-Code": "GatedRepo"})
        if not any(file.startswith(f"{repository}/") for file in hub.files):
            return self._end(401, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._end(404, {"X-Error-Code": "RevisionNotFound"})
        content = hub.files.get(f"{repository}/{name}")
        if content is None:
            return self._end(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        facts = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"http://localhost:{hub.server_port}/store/{repository}/{name}",  # another host, like a CDN
        }
        return self._end(302, facts)

    def _store(self, file: str, *, body: bool) -> None:
        hub = self.server
        content = hub.files[file]
        if file in hub.liars:
            content = bytes(reversed(content))
        first = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) if "Range" in self.headers else 0
        part = content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(part)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            if hub.cut is not None:
                part = part[: hub.cut]
                self.close_connection = True
            hub.sent.append((file, first, len(part)))
            self.wfile.write(part)

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
