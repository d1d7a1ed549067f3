"""Checks that this project and huggingface_hub share one cache: `python reference/check_hub.py`.

A hub on the loopback interface has a small file and one in large-file storage, which lies on another server. What either client pulls from it, into
the cache and into a folder, the other one finds whole and fetches no more.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"a": 1}\n', "unet/model.safetensors": bytes(range(256)) * 8192}
failures = 0
fetched = []


def report(what, ok):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what}")


class Hub(BaseHTTPRequestHandler):
    storage = ""

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/some/model/revision/"):
            siblings = [{"rfilename": name} for name in FILES]
            return self.answer(200, json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode())
        name = path.split("/storage/")[-1] if "/storage/" in path else "/".join(path.split("/")[5:])
        body = FILES.get(name)
        if body is None:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if self.command == "GET" and (len(body) <= 1024 or "/storage/" in path):
            fetched.append(name)
        if "/storage/" in path:
            return self.answer(200, body)
        if len(body) > 1024:
            digest = hashlib.sha256(body).hexdigest()
            return self.answer(302, Location=f"{self.storage}/storage/{name}", X_Repo_Commit=COMMIT,
                               X_Linked_Etag=f'"{digest}"', X_Linked_Size=len(body))
        digest = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        return self.answer(200, body, ETag=f'"{digest}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def refl(home, folder=None):
    command = ["node", str(ROOT / "reference/pull_files.mjs"), "some/model", *([str(folder)] if folder else [])]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HOME": str(home)})
    return json.loads(result.stdout)


def main(root):
    Hub.storage = serve()
    os.environ.update({"HF_ENDPOINT": serve(), "HF_HOME": str(root / "theirs"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
    from huggingface_hub import constants, hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache

    for name in FILES:
        hf_hub_download("some/model", name)
        hf_hub_download("some/model", name, local_dir=root / "theirs/folder")
    report("huggingface_hub pulls from the test's hub", set(fetched) == set(FILES))
    fetched.clear()
    report("its cache is whole to refl", set(refl(root / "theirs").values()) == {"present"} and not fetched)
    report("its folder is whole to refl", set(refl(root / "theirs", root / "theirs/folder").values()) == {"present"} and not fetched)

    report("refl pulls", set(refl(root / "ours").values()) == {"fetched"})
    refl(root / "ours", root / "ours/folder")
    fetched.clear()
    cache = root / "ours/hub"
    for name, body in FILES.items():
        hf_hub_download("some/model", name, local_dir=root / "ours/folder", cache_dir=root / "empty")
        report(f"{name} in refl's folder is whole to huggingface_hub", (root / "ours/folder" / name).read_bytes() == body and not fetched)
        path = try_to_load_from_cache("some/model", name, cache_dir=cache)
        report(f"{name} in refl's cache is found by huggingface_hub", isinstance(path, str) and Path(path).read_bytes() == body)
    info = scan_cache_dir(cache)
    report("refl's cache scans without a warning", not info.warnings and info.size_on_disk == sum(map(len, FILES.values())))
    constants.HF_HUB_OFFLINE = True
    folder = Path(snapshot_download("some/model", cache_dir=cache, local_files_only=True))
    report("refl's snapshot is taken offline", all((folder / name).read_bytes() == body for name, body in FILES.items()))
    print(f"{failures} failures")
    return 1 if failures else 0


with tempfile.TemporaryDirectory() as name:
    sys.exit(main(Path(name)))
