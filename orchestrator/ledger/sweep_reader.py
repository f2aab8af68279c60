"""What can be read of a sweep's ledger, whether it is driven or only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import LedgerError
from orchestrator.ledger.location import StoreLocation
from orchestrator.ledger.mlflow_store import MlflowStore, StoreAwayError, WriteRefusedError, sorted_errors
from orchestrator.ledger.parents import cell_records, parents_from_sqlite
from orchestrator.ledger.records import CellRecord
from orchestrator.ledger.spool import read_after, read_committed
from orchestrator.ledger.standstill import stamp_at_rest

if TYPE_CHECKING:
    from mlflow.entities import Run


class SweepReader:
    """The runs of one sweep in MLflow, and what its spool holds beyond them."""

    def __init__(self, location: StoreLocation, sweep_name: str, store: MlflowStore | None) -> None:
        self.location = location
        self.sweep_name = sweep_name
        self._store = store

    @property
    def tracking_uri(self) -> str:
        return self.location.tracking_uri

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the sweep; "" where nothing was written yet."""
        store = self.reader()
        return store.experiment_id if store else ""

    def reader(self) -> MlflowStore | None:
        """MLflow's client, opened when first needed; None where the sweep does not exist."""
        if self._store is None and (self.location.database is None or self.location.database.exists()):
            store = MlflowStore(self.location)
            if store.find_experiment(self.sweep_name):
                self._store = store
        return self._store

    def cells(self) -> dict[str, CellRecord]:
        """All cells by id, what is still in the spool included; reads the cells' runs only.

        Raises:
            LedgerError: the store does not answer.
        """
        # In this order: an event that is told in the meantime is laid over once more, which changes nothing.
        told = read_committed(self.location.spool_dir)
        parents = self._parents()
        return cell_records(parents, read_after(self.location.spool_dir, told))

    def _parents(self) -> list[dict[str, str]]:
        database = self.location.database
        if database is not None:
            found = parents_from_sqlite(database, self.sweep_name) if database.exists() else []
            if found is not None:
                return found
        return self._parents_from_client()

    def _parents_from_client(self) -> list[dict[str, str]]:
        return [dict(run.data.tags) for run in self.search("tags.`hsfm.role` = 'cell'")]

    def search(self, condition: str) -> list[Run]:
        """All runs of the sweep that meet an MLflow filter, oldest first; none where the sweep does not exist.

        Raises:
            LedgerError: the store does not answer.
        """
        store = self.reader()
        with self._reading():
            return store.search(condition) if store else []

    def artifacts(self, run_id: str) -> list[str]:
        """Names of what lies at the top of a run's artifacts.

        Raises:
            LedgerError: the store does not answer.
        """
        with self._reading(), sorted_errors():
            return [item.path for item in self._open_store().client.list_artifacts(run_id)]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (StoreAwayError, WriteRefusedError) as error:
            raise LedgerError(f"MLflow at {self.tracking_uri} cannot be read: {error}") from error

    def _open_store(self) -> MlflowStore:
        if self._store is None:
            raise LedgerError(f"the sweep {self.sweep_name!r} does not exist in {self.tracking_uri}")
        return self._store

    def stamp_at_rest(self) -> str:
        """A stamp that changes with every write; "" while anything is at work or was left unfinished."""
        return stamp_at_rest(self.location, self.sweep_name)
