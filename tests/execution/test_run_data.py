"""What a run sees of its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.execution.run_data import RunData


def test_a_store_with_other_data_than_the_runs_is_refused(make_spec: Any, indian_pines: Path) -> None:
    # A store's place is no part of a run's key; its content is, so it is compared before anything is trained.
    spec = replace(make_spec("in_domain/svm_rbf"), dataset_digest="0123456789abcdef")
    with pytest.raises(DataError, match="defined on 0123456789abcdef of indian_pines.*start the sweep again"):
        RunData(spec, str(indian_pines))
