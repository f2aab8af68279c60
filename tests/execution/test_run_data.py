"""What a run sees of its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import DataError
from orchestrator.execution import normalised_images
from orchestrator.execution.pieces import near_borders
from orchestrator.execution.run_data import RunData
from tests.execution.conftest import run_network


def test_a_store_with_other_data_than_the_runs_is_refused(make_spec: Any, indian_pines: Path) -> None:
    # A store's place is no part of a run's key; its content is, so it is compared before anything is trained.
    spec = replace(make_spec("in_domain/svm_rbf"), dataset_digest="0123456789abcdef")
    with pytest.raises(DataError, match="defined on 0123456789abcdef of indian_pines.*start the sweep again"):
        RunData(spec, str(indian_pines))


def test_pixels_near_a_border_between_classes_are_told_from_the_others() -> None:
    labels = np.full((7, 12), -1, np.int16)
    labels[:, :4], labels[:, 4:7], labels[:, 10:] = 0, 1, 2
    assert near_borders(labels)[3].tolist() == [False] * 2 + [True] * 4 + [False] * 6


def test_border_and_interior_accuracy_make_up_the_accuracy(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    spec = make_spec("in_domain/spectral_cnn", steps=8, evaluations=1, pixel_batch_size=16)
    event = run_network(spec, indian_pines, tmp_path)
    scores, counts = event["scores"], {True: 0, False: 0}
    data = RunData(spec, str(indian_pines))
    near = near_borders(data.prepared.images[0].labels_HW)
    tested = data.task.test_labels[0] != -1
    for is_near in counts:
        counts[is_near] = int((tested & (near == is_near)).sum())
    assert min(counts.values()) > 100
    joined = counts[True] * scores["test/oa_border"] + counts[False] * scores["test/oa_interior"]
    assert joined / sum(counts.values()) == pytest.approx(scores["test/oa"])
    assert sum(np.sum(unit["confusion"]) for unit in event["evaluation"]["units"]) == sum(counts.values())


def test_windows_are_the_same_where_a_data_set_is_too_large_to_be_kept(
    make_spec: Any, indian_pines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("in_domain/spectral_cnn")
    rows, columns = np.array([0, 70, 144]), np.array([144, 3, 60])
    kept = RunData(spec, str(indian_pines)).windows(0, rows, columns, 9)
    monkeypatch.setattr(normalised_images, "KEPT_BYTES", 0)
    cut = RunData(spec, str(indian_pines))
    assert np.array_equal(cut.windows(0, rows, columns, 9), kept)
    assert not cut._whole_images
