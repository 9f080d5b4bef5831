"""MLflow: a database in the store, or the server that ``MLFLOW_TRACKING_URI`` names."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vaebench.config.signatures import Count
from vaebench.contracts import Ended, Tracked
from vaebench.disk import locked, write_bytes
from vaebench.runs.trackers import flat

if TYPE_CHECKING:
    import numpy as np

_KEY = "vaebench.key"  # the tag by which a run is found again
_STATUS = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_UNFIT = re.compile(r"[^\w\-. :/]")  # characters that no name may have
_AT_ONCE = 100  # parameters; the most that a request may hold
_LONGEST = 500  # characters of a parameter


@dataclass(kw_only=True)
class Mlflow:
    """Runs of an ``experiment``. ``uri``: of the server or the database; null: ``mlflow/runs.db`` in the store."""

    uri: str | None
    experiment: str
    sample_every: Count | None

    def where(self, store: Path) -> str:
        """The command that shows a database, or the server's address."""
        uri = self._uri(store)
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {quote(uri)}"

    def begin(self, run: Tracked) -> int:
        """Open the run, or go on with it. An evaluation is shown below its training."""
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        with nullcontext() if self.uri else locked(run.store / "mlflow"):  # workers would make the same at once
            if not (self.uri or _database(run.store).exists()):
                _make(_database(run.store))
            self.client = MlflowClient(self._uri(run.store))
            experiment = self._experiment(run.store)
            there = self._found(experiment, run.key)
            if there is None:
                parent = self._found(experiment, run.parent) if run.parent else None
                tags = {_KEY: run.key, **({"mlflow.parentRunId": parent.info.run_id} if parent else {})}
                new = self.client.create_run(experiment, run_name=run.name, tags={**run.tags, **tags})
        self.id = (there or new).info.run_id
        if there is None:
            self._log(params=self._params(run.config))
            return 0
        self.client.update_run(self.id, status="RUNNING")
        names = [name for name in there.data.metrics if not name.startswith("final/")]
        return max((one.step for name in names for one in self.client.get_metric_history(self.id, name)), default=0)

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """A metric for each number."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._log(metrics=[Metric(_UNFIT.sub("_", name), value, now, step) for name, value in values.items()])

    def images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """Images by step."""
        for name, grid in grids.items():
            self.client.log_image(self.id, grid, key=name, step=step)

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of one step."""
        self.curves(step, {f"final/{name}": value for name, value in values.items()})

    def close(self, ended: Ended) -> None:
        """Say how the run ended."""
        self.client.set_terminated(self.id, _STATUS[ended])

    def _uri(self, store: Path) -> str:
        return self.uri or f"sqlite:///{_database(store)}"

    def _experiment(self, store: Path) -> str:
        from mlflow.exceptions import MlflowException

        files = None if self.uri else (store / "mlflow" / "files").as_uri()
        with suppress(MlflowException):  # there is one of that name
            return str(self.client.create_experiment(self.experiment, artifact_location=files))
        found: Any = self.client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id)

    def _found(self, experiment: str, key: str) -> Any:
        found = self.client.search_runs([experiment], f"tags.`{_KEY}` = '{key}'", max_results=1)
        return found[0] if found else None

    def _params(self, config: Mapping[str, Any]) -> list[Any]:
        from mlflow.entities import Param

        given = {name: value for name, value in flat(config).items() if value is not None}
        return [Param(_UNFIT.sub("_", name), str(value)[:_LONGEST]) for name, value in given.items()]

    def _log(self, params: list[Any] | None = None, metrics: list[Any] | None = None) -> None:
        params, metrics = params or [], metrics or []
        for start in range(0, max(len(params), len(metrics)), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self.client.log_batch(self.id, metrics=metrics[part], params=params[part])


def _database(store: Path) -> Path:
    return store / "mlflow" / "runs.db"


# MLflow makes its database in some fifty steps, each on disk before the next begins. On a busy disk that takes minutes,
# and one that is cut off there is never opened again. So it is made elsewhere, without waiting for the disk.
def _make(database: Path) -> None:
    """Write an empty database, whole or not at all."""
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hasty(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hasty)
    try:
        with TemporaryDirectory() as folder:
            made = Path(folder) / database.name
            MlflowClient(f"sqlite:///{made}").search_experiments()
            write_bytes(database, made.read_bytes())
    finally:
        event.remove(Engine, "connect", hasty)
