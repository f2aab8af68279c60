"""The one place that calls MLflow: its client with the limits kept, and its errors sorted into two kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import LedgerError
from orchestrator.ledger import limits
from orchestrator.ledger.durability import sync
from orchestrator.ledger.environment import quiet_mlflow
from orchestrator.ledger.location import StoreLocation
from orchestrator.ledger.refusals import away_text

if TYPE_CHECKING:
    from mlflow.entities import Run

SWEEP_TAG = "hsfm.sweep"
EXPERIMENT_TAGS = {SWEEP_TAG: "true", "mlflow.experimentKind": "custom_model_development"}
"""The kind makes MLflow's pages open on the runs, not on the overview of a language-model application."""
PAGE = 1000
METRICS_A_CALL = limits.METRICS_PER_BATCH - limits.TAGS_PER_BATCH - limits.PARAMS_PER_BATCH
# An event that MLflow answers with one of these can never be told; everything else is tried again.
_REFUSALS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "BAD_REQUEST",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
    }
)


class StoreAwayError(Exception):
    """MLflow cannot be reached, is locked or is failing: try again later."""


class WriteRefusedError(Exception):
    """MLflow has understood and refused: trying again would not help."""


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric."""

    key: str
    value: float
    time_ms: int
    step: int


@contextmanager
def sorted_errors() -> Iterator[None]:
    """Turn what MLflow raises into StoreAwayError or WriteRefusedError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        text = str(error).strip().split("\n")[0][:500]
        if error.error_code in _REFUSALS:
            raise WriteRefusedError(text) from error
        raise StoreAwayError(text) from error
    except FileNotFoundError as error:
        raise WriteRefusedError(f"file {error.filename} is gone") from error
    except OSError as error:  # requests' errors among them
        raise StoreAwayError(str(error)[:500]) from error


class MlflowStore:
    """MLflow's client bound to one store and, once opened, to one experiment."""

    def __init__(self, location: StoreLocation) -> None:
        quiet_mlflow()
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        self.location = location
        try:
            self.client = MlflowClient(tracking_uri=location.tracking_uri, registry_uri=location.tracking_uri)
        except MlflowException as error:
            raise LedgerError(_schema_advice(location, str(error))) from error
        self.experiment_id = ""

    def find_experiment(self, name: str) -> bool:
        """Bind to the experiment of that name, if there is one.

        Raises:
            LedgerError: it was deleted in MLflow, or the store does not answer.
        """
        with self._opening():
            found = self.client.get_experiment_by_name(name)
        if found is None:
            return False
        if found.lifecycle_stage != "active":
            raise LedgerError(
                f"the MLflow experiment {name!r} was deleted; bring it back with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` (MLFLOW_TRACKING_URI={self.location.tracking_uri}), "
                "or give the sweep another name."
            )
        self.experiment_id = found.experiment_id
        return True

    def make_experiment(self, name: str) -> None:
        """Bind to the experiment of that name and create it where needed; two drivers may try at once."""
        if self.find_experiment(name):
            return
        where = str(self.location.artifacts) if self.location.artifacts else None
        try:
            with sorted_errors():
                self.experiment_id = self.client.create_experiment(name, where, EXPERIMENT_TAGS)
        except WriteRefusedError:
            if not self.find_experiment(name):
                raise
        except StoreAwayError as error:
            raise LedgerError(away_text(self.location.tracking_uri, str(error))) from error

    def search(self, condition: str, *, order_by: Sequence[str] = ("attributes.start_time ASC",)) -> list[Run]:
        """All runs of the experiment that meet an MLflow filter, page by page."""
        runs: list[Run] = []
        token = None
        while True:
            with sorted_errors():
                page = self.client.search_runs(
                    [self.experiment_id], condition, max_results=PAGE, order_by=list(order_by), page_token=token
                )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def get_run(self, run_id: str) -> Run:
        """One run."""
        with sorted_errors():
            return self.client.get_run(run_id)

    def create_run(self, name: str, tags: Mapping[str, str], time_ms: int) -> str:
        """Create a RUNNING run and return its id."""
        with sorted_errors():
            run = self.client.create_run(self.experiment_id, time_ms, dict(tags), name)
        return str(run.info.run_id)

    def sync(self) -> None:
        """Wait until what was written is on the disk, where the store is a file of ours."""
        if self.location.database is not None:
            sync(self.location.database)

    def close(self) -> None:
        """Let go of the embedded store's file, so that SQLite tidies up its log; the next call opens it again."""
        if self.location.database is not None:
            self.client._tracking_client.store.engine.dispose()

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write params once; MLflow refuses a changed value."""
        from mlflow.entities import Param

        items = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(items), limits.PARAMS_PER_BATCH):
            with sorted_errors():
                self.client.log_batch(run_id, params=items[start : start + limits.PARAMS_PER_BATCH])

    def log(
        self,
        run_id: str,
        tags: Mapping[str, str],
        metrics: Sequence[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Set tags, add metrics and write params in as few calls as MLflow's limits allow.

        A repeated metric is not doubled; a changed value of a param is refused.
        """
        from mlflow.entities import Metric, Param, RunTag

        tag_items = [RunTag(key, value) for key, value in tags.items()]
        param_items = [Param(key, value) for key, value in (params or {}).items()]
        # Together at most 1000 items a call: 800 metrics leave room for 100 tags and 100 params.
        most, most_tags, most_params = METRICS_A_CALL, limits.TAGS_PER_BATCH, limits.PARAMS_PER_BATCH
        points = [Metric(m.key, m.value, m.time_ms, m.step) for m in metrics]
        while tag_items or points or param_items:
            with sorted_errors():
                self.client.log_batch(
                    run_id, metrics=points[:most], params=param_items[:most_params], tags=tag_items[:most_tags]
                )
            points, param_items, tag_items = points[most:], param_items[most_params:], tag_items[most_tags:]

    def set_status(self, run_id: str, status: str, time_ms: int) -> None:
        """Set a run RUNNING, or end it at `time_ms`."""
        with sorted_errors():
            if status == "RUNNING":
                self.client.update_run(run_id, status=status)
            else:
                self.client.set_terminated(run_id, status=status, end_time=time_ms)

    def log_text(self, run_id: str, artifact_path: str, text: str) -> None:
        """Write a text artifact."""
        with sorted_errors():
            self.client.log_text(run_id, text, artifact_path)

    def log_file(self, run_id: str, path: str, artifact_dir: str | None) -> None:
        """Copy a file or folder into the run's artifacts."""
        if not Path(path).exists():
            raise WriteRefusedError(f"file {path} is gone")
        with sorted_errors():
            if Path(path).is_dir():
                self.client.log_artifacts(run_id, path, artifact_dir)
            else:
                self.client.log_artifact(run_id, path, artifact_dir)

    def log_input(self, run_id: str, name: str, digest: str, context: str) -> None:
        """Name a data set as the run's input, without reading it."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest, source_type="hsfm-sweep", source=json.dumps({"dataset": name}))
        with sorted_errors():
            tags = [InputTag("mlflow.data.context", context)]
            self.client.log_inputs(run_id, [DatasetInput(dataset=dataset, tags=tags)])

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            with sorted_errors():
                yield
        except (StoreAwayError, WriteRefusedError) as error:
            raise LedgerError(away_text(self.location.tracking_uri, str(error))) from error


def _schema_advice(location: StoreLocation, reason: str) -> str:
    if "out-of-date database schema" in reason:
        return (
            f"{location.tracking_uri} was made by another version of MLflow. Keep a copy of it and run "
            f"`mlflow db upgrade {location.tracking_uri}`."
        )
    return f"MLflow cannot open {location.tracking_uri}: {reason.splitlines()[0]}"
