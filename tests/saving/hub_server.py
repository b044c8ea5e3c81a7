"""A hub of this machine's own: what huggingface_hub asks for, over a directory of repositories."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path).strip("/")
        parts = path.split("/")
        self.server.asked.append(path)
        if parts[:2] == ["api", "models"]:
            return self._describe("/".join(parts[2:4]), parts[4:], with_body)
        file = self.server.root / "/".join(parts[:2]) / "/".join(parts[4:])
        if len(parts) < 5 or parts[2] != "resolve" or not file.is_file():
            return self._send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})
        body = file.read_bytes()
        self._send(200, body, with_body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'})

    def _describe(self, repository, rest, with_body):
        root = self.server.root / repository
        if not root.is_dir():
            return self._send(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})
        files = sorted(p for p in root.rglob("*") if p.is_file())
        names = [str(p.relative_to(root)) for p in files]
        if rest[:1] == ["tree"]:
            answer = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": COMMIT}
                for name, path in zip(names, files)
            ]
        else:
            siblings = [{"rfilename": name} for name in names]
            answer = {"id": repository, "modelId": repository, "sha": COMMIT,
                      "siblings": siblings, "tags": [], "private": False}  # fmt: skip
        body = json.dumps(answer).encode()
        self._send(200, body, with_body, {"Content-Type": "application/json"})

    def _send(self, code, body, with_body, headers):
        self.send_response(code)
        for name, value in {"X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def hub(root):
    """Serves `root/owner/name/...`; gives the address and the list of paths that were asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.root, server.asked = pathlib.Path(root), []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
