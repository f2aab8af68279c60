"""Leave one scene out, run: the other scenes choose, whatever finished first, killed and resumed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.api_plan import build_plan
from orchestrator.config import ExecutionConfig, GridConfig, SearchConfig, TrainConfig, load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import get_facts
from orchestrator.execution.cell_state import SELECTION
from orchestrator.execution.journal import LedgerJournal
from orchestrator.execution.leave_one_scene_out import Choice
from orchestrator.execution.segments import Segment
from orchestrator.execution.sweep_state import SweepState
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.ledger.store import open_ledger
from orchestrator.plan.facts import DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan, PlannedCell
from tests.datasets.made_data import made_scene, write_yaml
from tests.execution import sweeps
from tests.execution.test_sweep_state import MemoryJournal, outcome, run, score

NAMES = ("indian_pines", "salinas", "salinas_a", "pavia_university")


class Journal(MemoryJournal):
    """Keeps the choices, too, as the ledger does."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, dict[str, str]] = {}
        self.finals: dict[str, list[str]] = {}

    def chosen(self, planned: PlannedCell, choice: str, scenes: Any) -> None:
        assert list(scenes) == json.loads(choice)["scenes"]
        self.tags[str(planned.cell_id)] = {"hsfm.chosen": choice}

    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Any) -> None:  # noqa: ARG002
        if segment.slot.startswith("final/"):
            assert segment.cell_id in self.tags, "a final run started before its choice was written down"

    def cells(self) -> dict[str, CellRecord]:
        return {c: CellRecord(cell_id=c, slots=dict(s), tags=self.tags.get(c, {})) for c, s in self.records.items()}


def plan_for(*names: str, absent: str = "", trials: int = 4) -> Plan:
    grid = GridConfig(
        strategies=["in_domain/spectral_cnn", "in_domain/svm_rbf"],
        datasets=list(names),
        label_budgets=[{"k_shot": 3}],
        seeds=2,
        search=SearchConfig(trials=trials, round=2, selection="leave_one_scene_out"),
        train=TrainConfig(steps=10),
    )
    statuses = {
        name: DatasetStatus(facts=get_facts(name), reason="gone")
        if name == absent
        else DatasetStatus(facts=get_facts(name), digest=f"{NAMES.index(name)}" * 16, files_present=True)
        for name in names
    }
    return make_plan(grid, statuses, {}, {})


def drive(journal: Journal, plan: Plan, **how: Any) -> SweepState:
    return run(journal, list(plan.cells), plan.grid, **{"groups": 2, "seed": 0, **how})


def cell(plan: Plan, dataset: str, strategy: str = "in_domain/spectral_cnn") -> PlannedCell:
    return next(c for c in plan.cells if c.cell.dataset == dataset and c.cell.strategy.name == strategy)


def choices(journal: Journal) -> dict[str, dict[str, Any]]:
    return {cell_id: json.loads(tags["hsfm.chosen"]) for cell_id, tags in journal.tags.items()}


def slots(journal: Journal, planned: PlannedCell, stage: str) -> dict[str, SlotRecord]:
    return {n: r for n, r in journal.records[str(planned.cell_id)].items() if n.startswith(f"{stage}/")}


def test_all_scenes_try_the_same_candidates_the_first_one_the_defaults() -> None:
    plan, journal = plan_for(*NAMES), Journal()
    drive(journal, plan)
    drawn = [{n: dict(r.params) for n, r in slots(journal, cell(plan, name), "search").items()} for name in NAMES]
    assert all(one == drawn[0] for one in drawn)
    template = cell(plan, NAMES[0]).template
    assert template is not None
    assert all(template.fields[name] == value for name, value in drawn[0]["search/f0/0"].items())
    assert len({json.dumps(one, sort_keys=True) for one in drawn[0].values()}) == 4


def test_finals_have_the_candidate_with_the_best_mean_rank_on_the_other_places() -> None:
    plan, journal = plan_for(*NAMES), Journal()
    drive(journal, plan)
    planned = cell(plan, "indian_pines")
    found = choices(journal)[str(planned.cell_id)]
    assert found["scenes"] == ["salinas", "salinas_a", "pavia_university"]
    ranks = {}
    for name in found["scenes"]:
        own = slots(journal, cell(plan, name), "search")
        values = [own[f"search/f0/{n}"].scores[SELECTION] for n in range(4)]
        assert values == found["scores"][name]
        ranks[name] = [1 + sum(other > value for other in values) for value in values]
    # salinas and salinas_a show one place and share its vote
    means = [((a + b) / 2 + c) / 2 for a, b, c in zip(*ranks.values(), strict=True)]
    assert found["mean_ranks"] == pytest.approx(means, abs=1e-6)
    assert found["trial"] == means.index(min(means))
    finals = slots(journal, planned, "final")
    winner = slots(journal, planned, "search")[f"search/f0/{found['trial']}"]
    assert [dict(r.params) for r in finals.values()] == [dict(winner.params)] * 2
    assert choices(journal)[str(cell(plan, "salinas_a").cell_id)]["scenes"] == ["indian_pines", "pavia_university"]


@pytest.mark.parametrize(
    ("groups", "seed", "stop_after"), [(1, 1, 3), (3, 2, 12), (10, 3, 25), (2, 4, 40), (4, 5, None)]
)
def test_any_order_and_a_kill_at_any_moment_choose_the_same(groups: int, seed: int, stop_after: int | None) -> None:
    plan, reference, other = plan_for(*NAMES), Journal(), Journal()
    drive(reference, plan)
    if stop_after:
        drive(other, plan, groups=groups, seed=seed, stop_after=stop_after)
    drive(other, plan, groups=groups, seed=seed + 100)
    assert outcome(other) == outcome(reference)
    assert other.tags == reference.tags
    assert set(other.trained.values()) == {1}
    state = SweepState(plan.cells, other.cells(), search=plan.search, execution=ExecutionConfig(), journal=other)
    assert not state.has_work()


def test_no_final_starts_before_the_last_trial_of_the_other_scenes_has_ended() -> None:
    plan, journal = plan_for("indian_pines", "pavia_university"), Journal()
    state = SweepState(plan.cells, {}, search=plan.search, execution=ExecutionConfig(), journal=journal)
    open_trials = {str(c.cell_id): c.trials for c in plan.cells}
    other = {str(c.cell_id): str(c.choosers[0].cell_id) for c in plan.cells}
    while (segment := state.next_segment(limit=1)) is not None:
        if segment.slot.startswith("final/"):
            assert open_trials[other[segment.cell_id]] == 0
        else:
            open_trials[segment.cell_id] -= 1
        end(state, segment, score(segment))
    assert sum(open_trials.values()) == 0
    assert len(journal.closed_cells) == len(plan.cells)


def end(state: SweepState, segment: Segment, value: float) -> None:
    event = {"kind": "reached", "step": segment.until_step, "seconds": 1.0, "scores": {"val/best_miou": value}}
    state.on_end(segment.lease_id, event)


def test_the_own_trials_of_a_cell_choose_nothing_for_it() -> None:
    plan, honest, spoilt = plan_for("indian_pines", "pavia_university"), Journal(), Journal()
    for journal, lift in ((honest, 0.0), (spoilt, 10.0)):
        state = SweepState(plan.cells, {}, search=plan.search, execution=ExecutionConfig(), journal=journal)
        while (segment := state.next_segment(limit=1)) is not None:
            on_pines = segment.spec.dataset == "indian_pines" and segment.slot.endswith("/3")
            end(state, segment, score(segment) + lift * on_pines)
    pines, pavia = cell(plan, "indian_pines"), cell(plan, "pavia_university")
    assert slots(honest, pines, "final") == slots(spoilt, pines, "final")
    assert choices(spoilt)[str(pavia.cell_id)]["trial"] == 3


def fail(state: SweepState, segment: Segment) -> None:
    state.on_end(segment.lease_id, {"kind": "failed", "cause": "run_error", "error": f"of {segment.spec.dataset}"})


def sweep_with_failures(plan: Plan, journal: Journal, doomed: Any) -> SweepState:
    execution = ExecutionConfig(same_error_limit=0)
    state = SweepState(plan.cells, journal.cells(), search=plan.search, execution=execution, journal=journal)
    while (segment := state.next_segment(limit=2)) is not None:
        if doomed(segment):
            fail(state, segment)
        else:
            end(state, segment, score(segment))
    return state


def test_a_scene_whose_trials_all_failed_is_left_out_and_the_record_names_those_that_were_used() -> None:
    plan, journal = plan_for("indian_pines", "salinas", "pavia_university"), Journal()
    sweep_with_failures(plan, journal, lambda s: s.spec.dataset == "salinas" and s.slot.startswith("search/"))
    assert choices(journal)[str(cell(plan, "indian_pines").cell_id)]["scenes"] == ["pavia_university"]
    assert {r.state for r in slots(journal, cell(plan, "salinas"), "final").values()} == {"finished"}


def test_a_candidate_that_failed_on_one_scene_wins_nowhere_else() -> None:
    plan, reference, journal = plan_for(*NAMES), Journal(), Journal()
    drive(reference, plan)
    planned = cell(plan, "indian_pines")
    best = choices(reference)[str(planned.cell_id)]["trial"]
    doomed = ("pavia_university", f"search/f0/{best}", planned.cell.strategy.name)
    sweep_with_failures(plan, journal, lambda s: (s.spec.dataset, s.slot, s.spec.strategy) == doomed)
    found = choices(journal)[str(planned.cell_id)]
    assert found["trial"] != best
    assert found["scores"]["pavia_university"][best] is None


def test_without_any_score_elsewhere_a_cell_ends_and_says_why() -> None:
    plan, journal = plan_for("indian_pines", "pavia_university"), Journal()
    state = sweep_with_failures(
        plan, journal, lambda s: s.spec.dataset == "pavia_university" and s.slot.startswith("search/")
    )
    left = state.cells[str(cell(plan, "indian_pines").cell_id)]
    assert left.is_closed
    assert state.is_finished
    assert "no candidate has a score on every scene (pavia_university)" in state.scene_choices.problem(left)
    assert slots(journal, cell(plan, "pavia_university"), "final")


def test_a_scene_that_comes_later_may_choose_anew_and_one_that_goes_away_undoes_nothing() -> None:
    few, more = plan_for("indian_pines", "pavia_university"), plan_for(*NAMES)
    journal = Journal()
    drive(journal, few)
    before = choices(journal)
    drive(journal, more)
    reference = Journal()
    drive(reference, more)
    after = choices(journal)
    assert after == choices(reference)
    changed = [c for c in before if before[c]["trial"] != after[c]["trial"]]
    assert len(journal.superseded_keys) == 2 * len(changed)
    kept = outcome(journal)
    gone = plan_for(*NAMES, absent="pavia_university")
    state = SweepState(gone.cells, journal.cells(), search=gone.search, execution=ExecutionConfig(), journal=journal)
    assert not state.has_work()
    assert outcome(journal) == kept
    assert choices(journal) == after


def test_one_cell_alone_waits_for_trials_that_are_not_part_of_this_start() -> None:
    plan, journal = plan_for("indian_pines", "pavia_university"), Journal()
    alone = [cell(plan, "indian_pines")]
    state = run(journal, alone, plan.grid, groups=1, seed=0)
    assert not slots(journal, alone[0], "final")
    assert "run the whole sweep" in state.scene_choices.problem(state.cells[str(alone[0].cell_id)])


def test_a_record_of_very_many_candidates_keeps_the_winners_scores() -> None:
    many = Choice(trial=7, params={"c": 1.0}, scores={"a": [0.123456789012] * 900}, mean_ranks=[1.5] * 900)
    found = Choice.from_text(many.to_text())
    assert found is not None
    assert (found.trial, found.scores) == (7, {"a": [0.123456789012]})
    assert len(many.to_text()) < 1000
    assert Choice.from_text("") is None


@pytest.fixture
def two_scenes(tmp_path: Path) -> Path:
    """A grid over two made scenes."""
    paths = []
    for seed, name in enumerate(("stripes", "stripes_again")):
        folder = tmp_path / name
        folder.mkdir()
        cube, labels = made_scene(seed, 64, 80)
        np.save(folder / "cube.npy", cube)
        np.save(folder / "labels.npy", labels)
        paths.append(write_yaml(folder, name=name, image_size_px=[64, 80], block_side_px=8, block_buffer_px=0))
    grid = tmp_path / "loso.yaml"
    grid.write_text(
        f"name: loso\nstrategies: [in_domain/svm_rbf]\ndatasets: {[str(path) for path in paths]}\n"
        "label_budgets: [{k_shot: 3}]\nseeds: 2\n"
        "search: {trials: 2, stopping: none, selection: leave_one_scene_out, metric: oa}\n"
    )
    return grid


def records_of(folder: Path) -> dict[str, CellRecord]:
    """Cells of the real sweep by their data set."""
    return {r.tags["hsfm.dataset"]: r for r in open_ledger(folder / "loso", "loso", mode="read").cells().values()}


def attempts_of(folder: Path) -> dict[tuple[str, str], int]:
    """Attempt of every closed slot, by data set and slot."""
    return {(d, n): s.attempt for d, r in records_of(folder).items() for n, s in r.slots.items() if s.is_closed}


def drive_ledger(grid_file: Path, *, at_most: int) -> int:
    """One driver on the real ledger, with invented scores; how many runs it ended before it was gone."""
    grid, folder = load_grid(str(grid_file)), grid_file.parent
    plan = build_plan(grid, DataLocations(data_root=None, cache=folder / "cache"), folder)
    with open_ledger(folder / "loso", "loso", mode="drive") as ledger:
        journal = LedgerJournal(
            ledger, logs=folder / "logs", provenance={}, on_run_closed=lambda _: None, on_cell_closed=lambda *_: None
        )
        with journal.together():
            for planned in plan.cells:
                journal.open_cell(planned)
        state = SweepState(plan.cells, ledger.cells(), search=plan.search, execution=ExecutionConfig(), journal=journal)
        ended = 0
        while ended < at_most and (segment := state.next_segment(limit=1)) is not None:
            name = "val/best_oa" if segment.slot.startswith("search/") else "test/oa"
            event = {"kind": "reached", "step": segment.until_step, "seconds": 1.0, "scores": {name: score(segment)}}
            state.on_end(segment.lease_id, event)
            ended += 1
    return ended


def test_the_choice_lies_in_the_ledger_and_outlives_its_drivers(two_scenes: Path) -> None:
    folder = two_scenes.parent
    for name in ("stripes", "stripes_again"):
        prepare(str(folder / name / "dataset.yaml"), DataLocations(data_root=None, cache=folder / "cache"))
    assert [drive_ledger(two_scenes, at_most=most) for most in (3, 3, 99, 99)] == [3, 3, 2, 0]
    records = records_of(folder)
    for name, other in (("stripes", "stripes_again"), ("stripes_again", "stripes")):
        scores = [records[other].slots[f"search/f0/{n}"].scores[SELECTION] for n in range(2)]
        chosen = json.loads(records[name].tags["hsfm.chosen"])
        assert (chosen["selection"], chosen["scores"]) == ("leave_one_scene_out", {other: scores})
        assert (records[name].tags["hsfm.chosen_on"], records[name].tags["hsfm.state"]) == (other, "done")
        assert [dict(records[name].slots[f"final/{seed}"].params) for seed in range(2)] == [chosen["params"]] * 2


def test_a_real_sweep_killed_and_started_again_trains_nothing_twice_and_keeps_its_choice(
    two_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    process = sweeps.start(two_scenes, tmp_path)
    sweeps.wait_for_closed(process, tmp_path, "loso", 2)
    sweeps.kill_driver(process)
    done = attempts_of(tmp_path)
    sweeps.run(two_scenes, tmp_path)
    attempts, records = attempts_of(tmp_path), records_of(tmp_path)
    assert len(attempts) == 2 * (2 + 2)
    assert all(attempts[slot] == attempt for slot, attempt in done.items())
    for name, other in (("stripes", "stripes_again"), ("stripes_again", "stripes")):
        record, trials = records[name], records[other].slots
        chosen = json.loads(record.tags["hsfm.chosen"])
        scores = [trials[f"search/f0/{n}"].scores["selection"] for n in range(2)]
        assert (chosen["scenes"], chosen["scores"]) == ([other], {other: scores})
        assert chosen["trial"] == scores.index(max(scores))
        assert record.tags["hsfm.selection"] == "leave_one_scene_out"
        assert all(dict(record.slots[f"final/{seed}"].params) == chosen["params"] for seed in range(2))
        assert all("test/oa" in record.slots[f"final/{seed}"].scores for seed in range(2))
    again = sweeps.run(two_scenes, tmp_path)
    assert attempts_of(tmp_path) == attempts, again
