"""Ray: a task for each job, on the nodes of a cluster or on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vaebench.compat import cores
from vaebench.config.signatures import CountOrNone, NonNegative, Positive, checked
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.errors import UserError, in_a_line, printable
from vaebench.runs.executors.progress import mark, steps_of
from vaebench.runs.executors.submitted import environment
from vaebench.stopping import STOPPING, stop_on_signal

_TICK = 0.2  # seconds between two looks at whether one was asked to stop
_REPORT_EVERY = 1.0


@checked("executor")
@dataclass(kw_only=True)
class Ray:
    """Options: ``conf/executor/ray.yaml`` says what each means."""

    address: str | None
    cpus: Positive
    gpus: NonNegative
    retries: CountOrNone

    @property
    def here(self) -> bool:
        """Without an address it is this machine."""
        return self.address is None

    def at_once(self, *, gpus: int, processes: int) -> int:
        """As many as this machine has room for; a cluster is not asked before it is used."""
        return max(1, int(cores() / self.cpus if not self.gpus else gpus / self.gpus))

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended. Asked to stop, let the jobs store and raise KeyboardInterrupt."""
        with self._cluster() as ray:
            self._check_room(ray)
            machine = dict(told.machine)
            if not self.gpus and machine["device"] == "auto":
                machine["device"] = "cpu"  # Ray leaves all GPUs of a node in sight of who asked for none
            told = replace(told, machine=machine)
            need = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
            task = ray.remote(_do).options(**need, runtime_env={"env_vars": environment()})
            yield from self._run(ray, task, queue, told)

    def _check_room(self, ray: Any) -> None:
        """Raise `UserError` if no node has what a job takes: Ray would wait for one."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            has = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise UserError(f"executor.cpus={self.cpus}, executor.gpus={self.gpus}: no node has so many ({has})")

    def _run(self, ray: Any, task: Any, queue: Queue, told: Told) -> Iterator[Outcome]:
        running: dict[Any, Job] = {}
        stopping, reported = False, time.monotonic()
        with stop_on_signal(STOPPING) as asked:
            while running or (queue.ready and not asked()):
                if asked() and not stopping:
                    stopping = True
                    for ref in running:
                        ray.cancel(ref)
                while not asked() and (job := queue.take()):
                    running[task.remote(job, dict(told.machine))] = job
                ended, _ = ray.wait(list(running), num_returns=1, timeout=_TICK)
                for ref in ended:
                    yield self._outcome(ray, ref, running.pop(ref), stopping=stopping)
                if time.monotonic() - reported >= _REPORT_EVERY:
                    reported = time.monotonic()
                    for job in running.values():
                        if steps := steps_of(job):
                            told.track(job, *steps)
            if asked():
                raise KeyboardInterrupt

    def _outcome(self, ray: Any, ref: Any, job: Job, *, stopping: bool) -> Outcome:
        """What a task returned, or what became of it."""
        try:
            status, reason = ray.get(ref)
        except ray.exceptions.RayError as error:
            status = "interrupted" if stopping else "failed"
            reason = in_a_line(error, most=300)
            mark(job, status, reason)
        return Outcome(job, status, reason)

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected; what this command has started ends with it."""
        import ray

        if ray.is_initialized():
            yield ray
            return
        try:
            ray.init(
                address=self.address or "local",
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                configure_logging=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"executor.address={self.address}: there is no cluster ({printable(said)}); start one (`ray start "
                "--head`), or leave address out for one of this machine"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _do(job: Job, machine: Mapping[str, Any]) -> tuple[str, str]:
    """On a node: do the job, as any worker does. A node that was lost leaves a lock, which is taken from it in time."""
    from vaebench.runs.worker import work

    try:
        outcome = work(job, dict(machine), note=lambda line: None)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return outcome.status, outcome.reason
