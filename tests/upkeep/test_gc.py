"""What `gc` deletes, and what it must never delete."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from orchestrator.execution.saved_model import SavedModel
from orchestrator.ledger.store import open_ledger
from orchestrator.upkeep import collecting
from orchestrator.upkeep.leftovers import Item
from orchestrator.upkeep.storage import DiskStorage, RemoteStorage
from tests.upkeep import conftest as made
from tests.upkeep.conftest import (
    BEST,
    DONE_FINALS,
    DONE_TRIALS,
    FAR_KEY,
    FORMER_FINAL,
    NAME,
    OPEN_FINALS,
    OPEN_TRIALS,
    Run,
)


def storage_of(root: Path) -> Path:
    return root / NAME / "checkpoints"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def by_path(out: str, root: Path) -> dict[str, dict[str, Any]]:
    items = json.loads(out)["items"]
    return {item["path"].removeprefix(f"{root / NAME}/").removeprefix("checkpoints/"): item for item in items}


def test_without_apply_everything_is_listed_and_nothing_is_deleted(
    run: Run, sweep: tuple[str, ...], root: Path
) -> None:
    before = files(root)
    status, out, _ = run("gc", *sweep, "--models", "--unknown", "--cache", "--logs", "--json")
    assert status == 0
    assert files(root) == before
    items = by_path(out, root)
    assert {path for path, item in items.items() if item["action"] == "delete"} == {
        f"{DONE_TRIALS[0]}/attempt-1",
        f"{DONE_FINALS[0]}/model",
        f"{DONE_FINALS[2]}/model",
        f"{FORMER_FINAL}/model",
        f"{OPEN_TRIALS[1]}/attempt-1/last.pt.part",
        FAR_KEY,
        "ray/group-0-999999",
        f"logs/{FORMER_FINAL}.log",
        "spool/events.jsonl",
    }
    assert items[f"{BEST}/model"]["reason"].startswith("the best final of in_domain/svm_rbf")
    assert items[f"{OPEN_FINALS[0]}/model"]["reason"].startswith("the best final of in_domain/spectral_cnn")
    assert "is not done and could still choose it" in items[f"{OPEN_FINALS[1]}/model"]["reason"]
    assert "goes on from it" in items[f"{OPEN_TRIALS[1]}/attempt-1"]["reason"]
    assert all(item["reason"] for item in items.values())


def test_apply_deletes_only_what_nobody_can_miss_and_reports_the_bytes(
    run: Run, sweep: tuple[str, ...], root: Path
) -> None:
    before = files(root)
    events = (root / NAME / "spool" / "events.jsonl").stat().st_size
    status, out, _ = run("gc", *sweep, "--apply", "--json")
    assert status == 0
    gone = before - files(root)
    assert gone == {
        f"{NAME}/checkpoints/{DONE_TRIALS[0]}/attempt-1/last.pt",
        f"{NAME}/checkpoints/{OPEN_TRIALS[1]}/attempt-1/last.pt.part",
        f"{NAME}/ray/group-0-999999/.validate_storage_marker",
        f"{NAME}/spool/events.jsonl",
    }
    assert json.loads(out)["totals"]["freed_bytes"] == 500 + 4 + 10 + events
    assert not (storage_of(root) / DONE_TRIALS[0]).exists()
    assert "there is nothing to delete" in run("gc", *sweep)[1]
    # the ledger is as it was, and the sweep goes on with it
    assert open_ledger(root / NAME, NAME, mode="read").cells().keys()
    assert run("reconcile", *sweep)[0] == 0


def test_the_checkpoint_of_a_failed_run_is_kept_for_a_retry_unless_it_is_asked_for(
    run: Run, sweep: tuple[str, ...], root: Path
) -> None:
    with open_ledger(root / NAME, NAME, mode="drive") as ledger:
        (cell, record), *_ = (
            (c, r.slots["search/f0/0"]) for c, r in ledger.cells().items() if "done" in r.tags.values()
        )
        ledger.put_slot(cell, record.with_(state="failed", cause="time_limit"))
    item = by_path(run("gc", *sweep, "--json")[1], root)[f"{DONE_TRIALS[0]}/attempt-1"]
    assert (item["action"], item["reason"]) == ("keep", "its run failed: `retry` goes on from it (--failed deletes it)")
    assert run("gc", *sweep, "--failed", "--apply")[0] == 0
    assert not (storage_of(root) / DONE_TRIALS[0]).exists()


FLAGS = ("--models", "--unknown", "--logs")
SETS_OF_FLAGS = [chosen for count in range(4) for chosen in itertools.combinations(FLAGS, count)]


@pytest.mark.parametrize(
    ("sets_of_flags", "settings"),
    [(SETS_OF_FLAGS, ()), (SETS_OF_FLAGS[-1:], ("seeds=1",)), (SETS_OF_FLAGS[-1:], ("seeds=5", "search.trials=1"))],
)
def test_the_best_final_and_open_finals_survive_every_combination_of_flags(
    run: Run, sweep: tuple[str, ...], root: Path, sets_of_flags: list[tuple[str, ...]], settings: tuple[str, ...]
) -> None:
    for chosen in sets_of_flags:
        shutil.rmtree(storage_of(root))
        made.fill_storage(storage_of(root))
        status, _, error = run("gc", *sweep, "--apply", *chosen, *settings)
        assert status == 0, error
        kept = files(storage_of(root))
        for key in (BEST, *OPEN_FINALS):
            assert {f"{key}/model/config.json", f"{key}/model/model.safetensors"} <= kept, (chosen, settings)
        assert f"{OPEN_TRIALS[1]}/attempt-1/last.pt" in kept
        if "--models" not in chosen or "seeds=5" in settings:  # more seeds: the cell is open again
            assert f"{DONE_FINALS[0]}/model/config.json" in kept
        if "--unknown" not in chosen:
            assert f"{FAR_KEY}/model/config.json" in kept


def test_a_protected_model_stays_even_if_it_was_judged_wrongly(root: Path) -> None:
    storage = DiskStorage(storage_of(root))
    (entry,) = [e for e in storage.entries(BEST) if e.name == "model"]
    item = Item(kind="model", storage=storage, entry=entry, size=1, deletes=True, reason="a mistake")
    found = collecting.Collected(NAME, root / NAME, "", [item], frozenset({BEST}))
    collecting.delete(found)
    assert not found.deleted
    assert (storage_of(root) / BEST / "model" / "config.json").exists()
    assert "never deleted" in found.problems[item.path]


def test_nothing_is_deleted_while_a_driver_lives(run: Run, sweep: tuple[str, ...], root: Path) -> None:
    with open_ledger(root / NAME, NAME, mode="drive"):
        before = files(storage_of(root))
        status, _, error = run("gc", *sweep, "--apply", "--models", "--unknown")
        assert status == 2
        assert "is driven by process" in error
        assert files(storage_of(root)) == before
        status, out, _ = run("gc", *sweep, "--json")
        data = json.loads(out)
        assert status == 0
        assert data["driver"].startswith("process")
        assert data["totals"]["deletable_bytes"] == 0


def test_deleting_follows_no_link_out_of_the_folder(
    run: Run, sweep: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    made.write(outside / "model" / "precious", "p")
    made.write(outside / "attempt-1" / "precious", "p")
    storage = storage_of(root)
    shutil.rmtree(storage / DONE_TRIALS[0])
    (storage / DONE_TRIALS[0]).symlink_to(outside)  # a run's folder that is a link
    shutil.rmtree(storage / FORMER_FINAL / "model")
    (storage / FORMER_FINAL / "model").symlink_to(outside / "model")  # a model that is a link
    (storage / DONE_FINALS[0] / "model" / "away").symlink_to(outside)  # a link inside of what is deleted
    (root / NAME / "ray" / "group-1-999999").symlink_to(outside)
    status, _, error = run("gc", *sweep, "--apply", "--models", "--unknown", "--logs", "--cache")
    assert status == 0, error
    assert files(outside) == {"model/precious", "attempt-1/precious"}
    assert not (storage / DONE_FINALS[0] / "model").exists()
    assert (storage / FORMER_FINAL / "model").is_symlink()


def test_storage_that_leads_elsewhere_by_a_link_in_between_is_refused(tmp_path: Path) -> None:
    made.write(tmp_path / "outside" / "attempt-1" / "last.pt", "x")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / DONE_TRIALS[0]).symlink_to(tmp_path / "outside")
    with pytest.raises(Exception, match="symbolic link"):
        DiskStorage(tmp_path / "storage").entries(f"{DONE_TRIALS[0]}/attempt-1")
    with pytest.raises(Exception, match="leads out"):
        DiskStorage(tmp_path / "storage").entries("../outside")


def test_unknown_folders_of_a_sibling_sweep_or_of_today_stay(
    run: Run, sweep: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    made.fill_storage(shared)
    fresh = "fedcba9876543210"
    made.write(shared / fresh / "attempt-1" / "last.pt", "x")
    made.write(shared / "not_a_key" / "file", "x")
    setting = f"execution.storage_path={shared}"
    sibling = root / "sibling"
    shutil.copytree(root / NAME, sibling)
    with open_ledger(sibling, "sibling", mode="drive") as ledger:
        ledger.ensure_cell("cell", "a cell of a sibling", {})
        from orchestrator.ledger.records import SlotRecord

        ledger.put_slot("cell", SlotRecord(slot="final/0", key=FAR_KEY, state="finished"))
    status, out, _ = run("gc", *sweep, "--apply", "--unknown", "--models", "--json", setting)
    assert status == 0
    reasons = {Path(item["path"]).name: item["reason"] for item in json.loads(out)["items"]}
    assert reasons[FAR_KEY] == "a run of sweep sibling"
    assert "changed within the last day" in reasons[fresh]
    assert {FAR_KEY, fresh, "not_a_key"} <= {path.name for path in shared.iterdir()}


def test_object_stores_are_cleaned_in_the_same_way(
    run: Run, sweep: tuple[str, ...], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.fill_storage(tmp_path / "bucket" / "prefix")
    system = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())

    def opened(address: str) -> Any:
        remote = RemoteStorage(address, system, "prefix")
        return remote if address.startswith("s3://") else DiskStorage(Path(address))

    monkeypatch.setattr(collecting, "open_storage", opened)
    made.age(tmp_path / "bucket")
    setting = "execution.storage_path=s3://me:geheim@bucket/prefix"
    status, out, _ = run("gc", *sweep, "--apply", "--models", "--unknown", "--json", setting)
    assert status == 0
    assert "geheim" not in out
    kept = {Path(path).parts[0] for path in files(tmp_path / "bucket" / "prefix")}
    assert kept == {BEST, *OPEN_FINALS, OPEN_TRIALS[1]}


def test_only_old_stores_and_abandoned_work_leave_the_cache(
    run: Run, sweep: tuple[str, ...], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv("HSFM_CACHE", str(own))
    (current,) = [path.name for path in (own / "prepared").iterdir() if path.is_dir()]
    made.write(own / "prepared" / "indian_pines-0123456789abcdef" / "manifest.json", "{}")
    made.write(own / "prepared" / "somebody_elses-0123456789abcdef" / "manifest.json", "{}")
    made.write(own / "prepared" / ".building-samson-x" / "image", "i")
    made.age(own / "prepared" / ".building-samson-x")
    made.write(own / "prepared" / ".building-salami-x" / "image", "i")
    made.write(own / "data" / "remote" / "cube.mat.part", "p")
    made.age(own / "data" / "remote" / "cube.mat.part")
    assert run("gc", *sweep, "--apply")[0] == 0
    assert (own / "prepared" / "indian_pines-0123456789abcdef").exists()
    assert run("gc", *sweep, "--apply", "--cache")[0] == 0
    left = {path.name for path in (own / "prepared").iterdir() if path.is_dir()}
    assert left == {current, "somebody_elses-0123456789abcdef", ".building-salami-x"}
    assert not (own / "data" / "remote" / "cube.mat.part").exists()


def test_another_store_than_the_folders_own_is_refused(
    run: Run, sweep: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    # all keys of the folder would look unknown there
    other = tmp_path / "other"
    shutil.copytree(root / NAME, other, ignore=shutil.ignore_patterns("spool"))
    with open_ledger(other, "not tidy", mode="drive") as ledger:
        client = ledger.reader().client  # type: ignore[union-attr]
        client.rename_experiment(client.get_experiment_by_name(NAME).experiment_id, "was tidy")
        client.rename_experiment(ledger.experiment_id, NAME)
    before = files(storage_of(root))
    status, _, error = run("gc", *sweep, "--apply", "--unknown", "--tracking-uri", f"sqlite:///{other / 'mlflow.db'}")
    assert status == 2
    assert "was driven with another MLflow store" in error
    assert files(storage_of(root)) == before


def test_a_sweep_that_does_not_exist_is_told_and_nothing_is_made(run: Run, template: Path, tmp_path: Path) -> None:
    status, _, error = run("gc", "--grid", str(template / "tidy.yaml"), "--out", str(tmp_path / "none"), "--apply")
    assert status == 2
    assert "there is no sweep 'tidy'" in error
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_winners_of_a_real_sweep_still_load_after_everything_else_has_gone(
    run: Run, undisturbed: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(undisturbed, tmp_path / "real")
    arguments = ("--grid", str(root / "killed.yaml"), "--out", str(root))
    status, out, _ = run("gc", *arguments, "--models", "--unknown", "--logs", "--apply", "--json")
    assert status == 0
    deleted = [item for item in json.loads(out)["items"] if item["action"] == "deleted"]
    assert sum(item["kind"] == "model" for item in deleted) == 3
    assert any(item["kind"] == "Ray session" for item in deleted)
    for record in open_ledger(root / "killed", "killed", mode="read").cells().values():
        folder = root / "killed" / "checkpoints" / record.tags["hsfm.model"] / "model"
        assert SavedModel(folder).facts["key"] == record.tags["hsfm.model"]
