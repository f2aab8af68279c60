"""What a closed cell leaves behind: its best final run as an MLflow model; checkpoints nobody needs any more go."""

from __future__ import annotations

import functools
import logging
import shutil
import signal
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.execution import checkpoints
from orchestrator.execution.model_files import CONFIG, example_of, read_facts
from orchestrator.execution.saved_model import FOLDER
from orchestrator.execution.tallies import MODEL_TAG, best_final
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import Ledger
from orchestrator.plan.planned import PlannedCell

log = logging.getLogger(__name__)


class Housekeeper:
    """One background thread, so that neither Tune's loop nor a worker group waits for files."""

    def __init__(self, ledger: Ledger, storage: str) -> None:
        self._ledger, self._storage = ledger, storage
        # SIGTERM is the main thread's business: where it is deaf for a while (Ray starts), the signal must wait for it.
        deaf = functools.partial(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGTERM})
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="housekeeper", initializer=deaf)
        self.problems: list[str] = []

    def run_closed(self, record: SlotRecord) -> None:
        """Remove the checkpoints of a run that never goes on.

        One that failed may, with `retry`, more memory or more time; where the run itself was wrong, what it has
        learned until then may be wrong, too.
        """
        if record.state == "failed" and record.cause != "run_error":
            return
        self._pool.submit(self._guard, "removing checkpoints", checkpoints.drop_attempts, self._storage, record.key)

    def cell_closed(self, planned: PlannedCell, slots: Mapping[str, SlotRecord]) -> None:
        """Publish the best final run of the cell."""
        best = best_final(slots)
        if best is not None:
            self._pool.submit(self._guard, f"publishing the model of {planned.cell}", self._publish, planned, best)

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def _guard(self, doing: str, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:  # housekeeping must never cost a result; the sweep names it at its end
            log.exception("%s failed", doing)
            self.problems.append(f"{doing}: {type(error).__name__}: {error}")

    def _publish(self, planned: PlannedCell, best: SlotRecord) -> None:
        folder = Path(checkpoints.run_folder(self._storage, best.key)) / FOLDER
        if not (folder / CONFIG).is_file():
            return  # an object store: `export` reads it from there
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "model"
            make_mlflow_model(folder, made)
            self._ledger.log_file(best.key, made, "model")
            self._ledger.flush(120)
        self._ledger.set_cell(str(planned.cell_id), tags={MODEL_TAG: best.key, "hsfm.model_slot": best.slot})


def make_mlflow_model(folder: Path, destination: Path) -> None:
    """Write an MLflow pyfunc model (no pickle) that predicts label maps from raw cubes of any height and width."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    import orchestrator

    facts = read_facts(folder)
    bands = int(facts["num_bands"])
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1, bands))]),
        outputs=Schema([TensorSpec(np.dtype("int64"), (-1, -1))]),
    )
    shutil.rmtree(destination, ignore_errors=True)
    # It says for every model that it looks at the example; the sweep's terminal is for the sweep.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    example, _ = example_of(folder)
    mlflow.pyfunc.save_model(
        str(destination),
        input_example=example,
        loader_module="orchestrator.execution.saved_model",
        data_path=str(folder),
        signature=signature,
        pip_requirements=[f"hsfm-sweep=={orchestrator.__version__}"],
        metadata={k: facts[k] for k in ("strategy", "dataset", "class_names", "quantity", "scale", "key")},
    )
