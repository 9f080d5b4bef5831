"""A task of a scheduler on its own side: ``python -m vaebench.runs.executors.task FILE ARRAY NUMBER`` does its jobs.

``FILE``: what was submitted (`Submission`). The scheduler's first signal (SIGUSR1) says that the time is nearly over:
what is not done is stored, and the task puts itself into the queue again. SIGTERM says that it was cancelled, or has to
make room; then the scheduler knows whether it starts it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vaebench.contracts import Job
from vaebench.runs.executors.progress import mark
from vaebench.runs.executors.submitted import Submission
from vaebench.runs.store import Run
from vaebench.stopping import stop_on_signal


def main(words: Sequence[str]) -> int:
    """Do the jobs of a task. Returns 1 if one of them failed, else 0."""
    file, array, number = Path(words[0]), int(words[1]), int(words[2])
    submission = Submission.read(file)
    late: list[int] = []
    signal.signal(signal.SIGUSR1, lambda signum, frame: late.append(signum))
    ends: dict[Job, str] = {}
    with stop_on_signal("asked to stop: what is not done is stored\n") as asked:
        for job in submission.jobs(array, number):
            if asked() or late:
                break
            ends[job] = _do(job, submission, lambda: bool(asked() or late))
    if late and any(ends.get(job) not in ("done", "failed") for job in submission.jobs(array, number)):
        _again()
    return int("failed" in ends.values())


def _do(job: Job, submission: Submission, stop: Callable[[], bool]) -> str:
    from vaebench.runs.worker import work

    say = partial(print, flush=True)
    if missing := [folder for folder in job.needs if not Run(folder).done]:
        say(f"left out: {job.verb} {job.folder.name}, which needs {', '.join(folder.name for folder in missing)}")
        mark(job, "interrupted", "needs a run that failed")
        return "failed"
    say(f"begins: {job.verb} {job.folder.name}")
    try:
        outcome = work(job, dict(submission.machine), note=say, stop=stop)
    except Exception as error:  # a defect of the code, which the run's status tells as well
        say(f"failed: {job.folder.name}: {type(error).__name__}: {error}")
        return "failed"
    say(f"{outcome.status}: {job.verb} {job.folder.name} {outcome.reason}")
    return outcome.status


def _again() -> None:
    """Ask for more time."""
    name = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    said = subprocess.run(["scontrol", "requeue", name], capture_output=True, text=True, check=False)
    if said.returncode:
        print(f"cannot be put into the queue again: {said.stderr.strip()}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
