"""`hsfm-sweep weights` and `--accept-license` as a user types them; downloads from a server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tiny_weights import GUARDED, NAME, SPEC, published, register, save

from orchestrator.cli import main
from strategies.backbones import _places
from strategies.backbones._specs import all_specs

Run = Callable[..., tuple[int, str, str]]
LITE0 = "efficientnet_lite0_imagenet"
HUB = replace(GUARDED, huggingface=("nobody/tiny", "deep/checkpoint.pth", "v1"))


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty place: no data root, an empty cache, a fresh folder, and one made-up checkpoint in the registry."""
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    register(monkeypatch, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@dataclass
class Hub:
    """A server that answers as the hub does."""

    url: str = ""
    body: bytes = b""
    status: int = 200
    error_code: str = ""
    tokens: list[str | None] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, *, with_body: bool) -> None:
            state.tokens.append(self.headers.get("Authorization"))
            self.send_response(state.status)
            if state.error_code:
                self.send_header("X-Error-Code", state.error_code)
            self.send_header("ETag", '"e1"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            if with_body:
                self.wfile.write(state.body)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        listening.shutdown()


# --- check ---------------------------------------------------------------------------------------------------------


def test_check_tells_shares_stem_checksum_and_what_was_left_out(run: Run, tmp_path: Path) -> None:
    file = save(tmp_path / "file.pth")
    status, out, _ = run("weights", "check", str(file), "--as", NAME)
    assert status == 0
    assert "of the model: 100.00% of its parameters come from the file" in out
    assert f"sha256: {_places.file_sha256(file)}" in out
    assert "stem: pretrained" in out
    assert "missing: none\nunexpected: none\nwrong shape: none" in out
    assert "dropped, as allowed: 2: module.decoder.weight, module.mask_token7" in out
    assert run("weights", "check", NAME, str(file))[:2] == (0, out)
    assert run("weights", "check", str(file))[:2] == (0, out)


def test_check_as_json_keeps_its_form(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("weights", "check", str(save(tmp_path / "file.pth")), "--as", NAME, "--json")
    assert status == 0
    assert set(json.loads(out)) == {
        "schema", "name", "path", "fits", "problems", "origin", "sha256", "size_bytes", "stem", "share_of_model",
        "share_of_file", "parameters_loaded", "parameters_in_file", "keys_in_file", "keys_loaded", "missing",
        "unexpected", "wrong_shape", "allowed_missing", "dropped",
    }  # fmt: skip


def test_check_fails_where_a_key_is_missing_and_says_which(run: Run, tmp_path: Path) -> None:
    content = published()
    del content["model"]["module.encoder.norm.bias"]
    status, out, error = run("weights", "check", NAME, str(save(tmp_path / "file.pth", content)))
    assert status == 1
    assert "missing: 1: norm.bias" in out
    assert "1 missing: norm.bias" in error


def test_check_says_whose_file_it_seems_to_be(run: Run, tmp_path: Path) -> None:
    status, _, error = run("weights", "check", str(save(tmp_path / "file.pth")), "--as", LITE0)
    assert status == 1
    assert f"it looks like {NAME!r} (100% of names and shapes agree)" in error


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["check", "tiny_modle"], 2, "Did you mean 'tiny_model'?"),
        (["check", "file.pth", "--as", "tiny_modle"], 2, "Did you mean 'tiny_model'?"),
        (["check", NAME, "nowhere.pth"], 1, "nowhere.pth is not a file"),
        (["check", NAME], 1, "not found; looked in"),
        (["fetch", "tiny_modle"], 2, "Did you mean 'tiny_model'?"),
        (["fetch", NAME, "--accept-license", "tinny"], 2, "unknown licence 'tinny'"),
        (["fetch", NAME, LITE0, "--from", "file.pth"], 2, "--from gives one file for 2 names"),
        (["fetch", NAME], 1, "have no address of their own; to get them: hsfm-sweep weights fetch tiny_model --from"),
        (["fetch", NAME, "--from", "nowhere.pth"], 1, "nowhere.pth is not a file"),
        (["convert", NAME, "file.pth", "out.pth"], 2, "does not end in .safetensors"),
        (["convert", NAME, "nowhere.pth"], 1, "nowhere.pth is not a file"),
        (["imitate", "tiny_modle"], 2, "Did you mean 'tiny_model'?"),
    ],
)
def test_wrong_usage_is_one_line_that_helps(run: Run, arguments: list[str], status: int, words: str) -> None:
    found, _, error = run("weights", *arguments)
    assert found == status
    assert words in error
    assert error.count("\n") == 1


# --- fetch ---------------------------------------------------------------------------------------------------------


def test_a_file_of_the_user_s_is_checked_and_linked(run: Run, tmp_path: Path) -> None:
    file = save(tmp_path / "Downloads" / "anything.pth")
    status, out, _ = run("weights", "fetch", NAME, "--from", str(file))
    placed = tmp_path / "cache" / "weights" / NAME / "checkpoint.pth"
    assert (status, out) == (0, f"{NAME}: {placed}\n")
    assert placed.read_bytes() == file.read_bytes()
    assert (placed.parent / "checkpoint.pth.sha256").read_text().strip() == _places.file_sha256(file)
    other = save(tmp_path / "other.pth", {"model": {"module.encoder.embed.weight": torch.zeros(4, 3)}})
    status, _, error = run("weights", "fetch", NAME, "--from", str(other))
    assert status == 1
    assert "missing" in error
    assert placed.read_bytes() == file.read_bytes()


def test_without_consent_nothing_is_fetched(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(all_specs(), NAME, HUB)
    status, _, error = run("weights", "fetch", NAME)
    assert status == 1
    assert "no licence is stated for them (all rights reserved)" in error
    assert "add --accept-license tiny" in error
    assert hub.tokens == []


def test_a_file_comes_from_the_hub_whole(run: Run, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(all_specs(), NAME, HUB)
    hub.body = save(tmp_path / "file.pth").read_bytes()
    status, out, _ = run("weights", "fetch", NAME, "--accept-license", "tiny")
    assert status == 0
    placed = tmp_path / "cache" / "weights" / NAME / "checkpoint.pth"
    assert placed.read_bytes() == hub.body
    assert not (placed.parent / "hub").exists()
    hub.status = 500
    assert run("weights", "fetch", NAME, "--accept-license", "tiny")[:2] == (0, out)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "agree on the page of nobody/tiny, set HF_TOKEN to your token"),
        (404, "EntryNotFound", "there is no such file, or not for you"),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_address_and_without_the_token(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    monkeypatch.setitem(all_specs(), NAME, HUB)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.status, hub.error_code = status, code
    found, out, error = run("weights", "fetch", NAME, "--accept-license", "tiny")
    assert found == 1
    assert f"cannot fetch {hub.url}/nobody/tiny/resolve/v1/deep/checkpoint.pth: " in error
    assert words in error
    assert f"hsfm-sweep weights fetch {NAME} --from FILE" in error
    assert "hf_secret" not in out + error
    assert hub.tokens[0] is None
    assert "Bearer hf_secret" in hub.tokens


def test_without_a_network_it_is_one_line_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(all_specs(), NAME, HUB)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status, _, error = run("weights", "fetch", NAME, "--accept-license", "tiny")
    assert status == 1
    assert "cannot fetch http://127.0.0.1:9/nobody/tiny/resolve/v1/deep/checkpoint.pth: no connection" in error
    assert error.count("\n") == 1


# --- convert, imitate ----------------------------------------------------------------------------------------------


def test_a_converted_file_takes_the_place_of_the_original(run: Run, tmp_path: Path) -> None:
    file = save(tmp_path / "file.pth")
    assert run("weights", "convert", NAME, str(file))[0] == 0
    status, out, _ = run("weights", "check", NAME)
    assert status == 0
    assert f"{NAME}.safetensors" in out
    assert "dropped, as allowed: none" in out
    assert _places.locate(NAME, None, tmp_path / "cache").sha256 == _places.file_sha256(file)
    status, _, _ = run("weights", "convert", NAME, str(file), "elsewhere/out.safetensors")
    assert status == 0
    (tmp_path / "cache" / "weights" / NAME / f"{NAME}.safetensors").unlink()
    assert run("weights", "fetch", NAME, "--from", "elsewhere/out.safetensors")[0] == 0
    assert run("weights", "check", NAME)[:2] == (0, out)


def test_a_file_that_does_not_fit_is_not_converted(run: Run, tmp_path: Path) -> None:
    file = save(tmp_path / "file.pth", {"model": {"module.encoder.embed.weight": torch.zeros(4, 3)}})
    status, _, error = run("weights", "convert", NAME, str(file), "out.safetensors")
    assert status == 1
    assert "nothing was written" in error
    assert not Path("out.safetensors").exists()


def test_imitated_weights_say_what_they_are(run: Run) -> None:
    assert run("weights", "imitate", NAME, "--to", "made")[0] == 0
    file = next(Path("made").iterdir())
    status, out, _ = run("weights", "check", NAME, str(file))
    assert status == 0
    assert "synthetic numbers, for init synthetic only" in out
    status, _, error = run("weights", "fetch", NAME, "--from", str(file))
    assert status == 1
    assert "synthetic" in error


# --- in a plan -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(run: Run) -> Callable[..., list[dict[str, object]]]:
    def plan(entry: str, *more: str) -> list[dict[str, object]]:
        status, out, error = run("plan", "--grid", "smoke", f"strategies=[{entry}]", "--json", *more)
        assert status == 0, error
        return json.loads(out)["cells"]

    return plan


def test_a_cell_waits_for_consent_and_its_control_does_not(
    cells: Callable[..., list[dict[str, object]]], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = replace(all_specs()[LITE0], licence_weights="research-only", consent="tiny")
    monkeypatch.setitem(all_specs(), LITE0, guarded)
    entry = "{name: cross_modality/efficientnet_lite0, init: pretrained, regime: full}"
    pretrained, control = cells(entry)
    assert (pretrained["state"], control["state"]) == ("blocked", "missing")
    assert "have no permissive licence: theirs is research-only" in str(pretrained["reason"])
    assert pretrained["remedy"] == "read the licence, then add --accept-license tiny"
    assert {cell["state"] for cell in cells(entry, "--accept-license", "tiny")} == {"missing"}
    status, _, error = run("plan", "--grid", "smoke", "--accept-license", "tinny")
    assert status == 2
    assert "unknown licence 'tinny'" in error


def test_synthetic_cells_have_no_controls_and_say_what_they_prove(
    cells: Callable[..., list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(all_specs(), LITE0, replace(all_specs()[LITE0], consent="tiny"))
    (cell,) = cells("{name: cross_modality/efficientnet_lite0, init: synthetic, regime: full}")
    assert (cell["init"], cell["state"], cell["transfer"], cell["leakage"]) == (
        "synthetic", "missing", "in_domain", "none",
    )  # fmt: skip
    assert "synthetic weights: proves the loading path, the score says nothing about the model" in str(cell["notes"])
    assert not (Path("cache") / "weights").exists()


def test_lists_show_what_is_to_be_accepted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(all_specs(), NAME, GUARDED)
    listed = {one["name"]: one for one in json.loads(run("weights", "list", "--json")[1])}
    assert (listed[NAME]["consent"], listed[NAME]["licence_weights"]) == ("tiny", "none")
    assert listed[LITE0]["consent"] == ""
    assert listed[NAME]["can_be_imitated"] is (SPEC.manifest is not None)
    assert "not stated" in run("weights", "info", NAME)[1]
