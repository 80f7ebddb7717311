"""Pushing to the hub: what would go, and that it goes, to a server on this machine that speaks the
hub's protocol.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from datagen.push import collect_upload
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError


def test_a_dry_run_shows_the_files_and_their_bytes(
    train: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["datagen", "push", str(train.path), "me/small", "--dry-run"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines[:-1]}
    there = {
        str(path.relative_to(train.path)): path.stat().st_size
        for path in train.path.rglob("*")
        if path.is_file()
    }
    assert shown == there
    assert f"{sum(there.values()):,}" in lines[-1]
    assert "me/small, private" in lines[-1]


def test_a_damaged_dataset_does_not_go(tmp_path: Path, train: Dataset) -> None:
    copy = Path(shutil.copytree(train.path, tmp_path / "copy"))
    (copy / "notes.txt").write_text("mine")
    assert "notes.txt" not in dict(collect_upload(copy).files)
    shard = copy / "train" / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512] + bytes(511) + b"x")
    with pytest.raises(InputError, match=r"train/000000\.tar is damaged"):
        collect_upload(copy)


class Hub(BaseHTTPRequestHandler):
    """The calls of an upload; files come in the commit itself."""

    made: dict[str, Any] = {}
    files: dict[str, bytes] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer hf_good":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self.made.update(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/datasets/me/small"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.answer(
                {
                    "files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for file in files
                    ]
                }
            )
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        else:
            assert "/commit/main" in self.path
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {
                    "commitUrl": f"http://{self.headers['Host']}/datasets/me/small/commit/0",
                    "commitOid": "0",
                    "success": True,
                }
            )

    def answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer({"error": "not found"}, 404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def pushed(dataset: Path, hub: str, token: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lorweb_bench", "datagen", "push", str(dataset), "me/small"]
    own = {
        "HF_ENDPOINT": hub,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True)


def test_all_of_it_goes_and_nothing_else(train: Dataset, hub: str, tmp_path: Path) -> None:
    done = pushed(train.path, hub, "hf_good", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "/datasets/me/small" in done.stdout
    assert (Hub.made["visibility"], Hub.made["type"]) == ("private", "dataset")
    there = {
        str(path.relative_to(train.path)): path.read_bytes()
        for path in train.path.rglob("*")
        if path.is_file()
    }
    assert Hub.files == there


def test_a_refusal_of_the_hub_is_told(train: Dataset, hub: str, tmp_path: Path) -> None:
    done = pushed(train.path, hub, "hf_bad", tmp_path)
    assert done.returncode == 2
    assert "me/small" in done.stderr
    assert "Invalid username or password" in done.stderr
    assert "Traceback" not in done.stderr
