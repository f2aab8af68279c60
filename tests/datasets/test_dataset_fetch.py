"""Downloads resume, are checked, and appear whole or not at all; against a local server that speaks HTTP Range."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets import fetch as fetch_module
from orchestrator.datasets import salinas_a
from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import DataError
from orchestrator.plan.facts import SourceFile


@dataclass
class Server:
    """Files of a local server, and how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after_bytes: list[int] = field(default_factory=list)
    """One entry a response that is cut; further responses are whole."""
    ranges: bool = True
    requested: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requested.append((self.path, wanted))
            body = state.files.get(self.path.lstrip("/"))
            if body is None:
                self.send_error(404)
                return
            first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if first >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            cut = state.cut_after_bytes.pop(0) if state.cut_after_bytes else len(body)
            self.wfile.write(body[first : first + cut])
            if cut < len(body) - first:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield state
        listening.shutdown()


@pytest.fixture
def files(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Salinas-A with made content of 300 kB and 20 bytes, and checksums that fit."""
    monkeypatch.setattr(fetch_module, "PAUSE_S", 0.001)
    generator = np.random.default_rng(0)
    contents = {
        source.path: generator.bytes(size) for source, size in zip(salinas_a.FACTS.files, (300_000, 20), strict=True)
    }
    sources = tuple(
        SourceFile(path=path, sha256=hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    monkeypatch.setattr(salinas_a, "FACTS", replace(salinas_a.FACTS, files=sources))
    server.files = dict(contents)
    return contents


def _fetched(locations: DataLocations) -> dict[str, bytes]:
    found = locations.fetched.rglob("*")
    return {
        file.relative_to(locations.fetched).as_posix(): file.read_bytes()
        for file in found
        if file.is_file() and file.suffix != ".lock"
    }


def test_all_files_arrive_and_a_second_call_asks_for_nothing(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    told: list[tuple[str, int, int | None]] = []
    folder = fetch("salinas_a", locations, base_url=server.url, progress=lambda *step: told.append(step))
    assert folder == locations.fetched
    assert _fetched(locations) == files
    assert told[-1] == (list(files)[1], 20, 20)
    count = len(server.requested)
    fetch("salinas_a", locations, base_url=server.url)
    assert len(server.requested) == count


def test_a_cut_connection_goes_on_where_it_stopped(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    server.cut_after_bytes = [100_000, 50_000]
    fetch("salinas_a", locations, base_url=server.url)
    assert _fetched(locations) == files
    assert [wanted for _, wanted in server.requested][:3] == [None, "bytes=100000-", "bytes=150000-"]


def test_the_next_call_goes_on_after_a_call_that_gave_up(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    server.cut_after_bytes = [1000] * fetch_module.ATTEMPTS
    with pytest.raises(DataError, match=r"was cut \(tried 5 times\); 5000 bytes are kept; run the command again"):
        fetch("salinas_a", locations, base_url=server.url)
    assert list(_fetched(locations)) == [f"{list(files)[0]}.part"]
    fetch("salinas_a", locations, base_url=server.url)
    assert _fetched(locations) == files
    assert ("bytes=5000-") in [wanted for _, wanted in server.requested]


def test_a_server_without_ranges_starts_anew(server: Server, files: dict[str, bytes], locations: DataLocations) -> None:
    server.ranges = False
    server.cut_after_bytes = [100_000]
    fetch("salinas_a", locations, base_url=server.url)
    assert _fetched(locations) == files


def test_a_wrong_checksum_is_refused_and_nothing_kept(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    path = next(iter(files))
    server.files[path] = b"x" * 300_000
    expected = hashlib.sha256(files[path]).hexdigest()
    with pytest.raises(DataError, match=rf"SHA-256 .*, expected {expected}; nothing was kept"):
        fetch("salinas_a", locations, base_url=server.url)
    assert _fetched(locations) == {}


def test_a_kept_part_of_another_version_is_thrown_away(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    part = locations.fetched / f"{next(iter(files))}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"old" * 200_000)
    fetch("salinas_a", locations, base_url=server.url)
    assert _fetched(locations) == files


def test_an_absent_file_is_named_at_once(server: Server, files: dict[str, bytes], locations: DataLocations) -> None:
    server.files.clear()
    with pytest.raises(DataError, match=r"SalinasA_corrected.mat: the server says 404"):
        fetch("salinas_a", locations, base_url=server.url)
    assert len(server.requested) == 1


def test_a_server_that_is_away_is_named(files: dict[str, bytes], locations: DataLocations) -> None:
    with pytest.raises(DataError, match=r"cannot fetch http://127.0.0.1:9/.*run the command again"):
        fetch("salinas_a", locations, base_url="http://127.0.0.1:9")


def test_a_path_that_leaves_its_folder_is_refused(
    server: Server, files: dict[str, bytes], locations: DataLocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = replace(salinas_a.FACTS, files=(SourceFile(path="../../outside"),))
    monkeypatch.setattr(salinas_a, "FACTS", outside)
    with pytest.raises(DataError, match="leaves its folder"):
        fetch("salinas_a", locations, base_url=server.url)
    assert server.requested == []


def test_files_of_the_data_root_are_not_fetched_again(data_root: Path, tmp_path: Path) -> None:
    assert fetch("salinas_a", DataLocations(data_root=data_root, cache=tmp_path)) == data_root


def test_a_folder_that_cannot_be_made_is_named(
    server: Server, files: dict[str, bytes], locations: DataLocations
) -> None:
    locations.cache.parent.mkdir(exist_ok=True)
    locations.cache.write_text("a file")
    with pytest.raises(DataError, match="set HSFM_CACHE"):
        fetch("salinas_a", locations, base_url=server.url)
