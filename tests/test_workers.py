"""Worker processes that are killed, whose parent is killed, that wait for each other, that are asked to stop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from rich.console import Console

from benchmarks import kill_workers
from chains import MACHINE, do, files, frozen, work
from commands import begin, beside, ended, holding, until
from vaebench import disk, stopping
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.errors import Interrupted
from vaebench.runs import alive, serve, worker
from vaebench.runs.executors import progress
from vaebench.runs.executors.inline import Inline
from vaebench.runs.executors.local import Local, shares
from vaebench.runs.executors.outlook import Outlook
from vaebench.runs.store import Run, Store

LONG = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=400 train.epochs=60 train.log_every=20".split()
SHORT = "model=beta_vae model.hidden=[16] dataset=digits train.max_steps=3".split()
linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")


def opened(home: Path, *lists: list[str]) -> list[Run]:
    return [Store(home).open(frozen(*words)) for words in lists]


def training(run: Run) -> int:
    """The process that trains it and has logged something; 0: none yet."""
    status = run.status()
    there = status["status"] == "running" and run.path("checkpoint.pt").exists()
    return int(status["pid"]) if there else 0


def killing(run: Run, times: int) -> Callable[[], None]:
    """Kills the process that trains it, and then the next one."""

    def do() -> None:
        seen = {0}
        for _ in range(times):
            pid = until(lambda: next(iter({training(run)} - seen), 0))
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)

    return do


def submit(
    runs: list[Run], workers: int, needs: Mapping[Run, Run] = MappingProxyType({})
) -> tuple[dict[str, Outcome], list[str]]:
    """How each ended, in that order, and what was said of them."""
    notes: list[str] = []
    told = Told(
        MACHINE | {"checkpoint_seconds": 0.0},
        track=lambda job, done, total: None,
        note=lambda job, line: notes.append(f"{job.folder.name}: {line}"),
        say=notes.append,
        store=runs[0].root,
    )
    queue = Queue(Job("train", run.folder, needs=(needs[run].folder,) if run in needs else ()) for run in runs)
    outcomes = {}
    for outcome in Local(workers=workers).submit(queue, told):
        queue.ended(outcome)
        outcomes[outcome.job.folder.name] = outcome
    return outcomes, notes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the long training that nobody disturbs."""
    return files(*do(tmp_path_factory.mktemp("whole"), frozen(*LONG)))


def test_a_killed_worker_takes_its_own_job_with_it_which_is_tried_again(home, whole):
    """One of two workers is killed: its job resumes to the same bits, the others do not notice."""
    long, *short = opened(home, LONG, SHORT, [*SHORT, "seed=1"])
    with beside(killing(long, 1)):
        outcomes, notes = submit([long, *short], 2)
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(
        (run.key for run in (long, *short)), "done"
    )
    assert files(long) == whole
    (note,) = notes
    assert note == (
        f"{long.key}: the worker process was killed by signal 9 (SIGKILL): out of memory?; "
        "it is tried once more, alone, after the others"
    )


def test_a_job_that_kills_its_worker_twice_has_failed_and_stops_nobody(home, whole):
    long, short = opened(home, LONG, SHORT)
    with beside(killing(long, 2)):
        outcomes, _ = submit([long, short], 1)
    assert outcomes[short.key].status == "done"
    assert outcomes[long.key].status == "failed"
    assert "killed by signal 9 (SIGKILL): out of memory? (the second time; " in outcomes[long.key].reason
    assert long.status()["status"] == "failed"
    assert "signal 9" in long.status()["reason"]
    assert work(long).status == "done"
    assert files(long) == whole


def test_a_job_does_not_wait_for_who_is_no_parent_of_it(home):
    long, short, child = opened(home, LONG, SHORT, [*SHORT, "seed=1"])
    outcomes, notes = submit([child, long, short], 2, needs={child: short})
    assert list(outcomes) == [short.key, child.key, long.key]
    assert {one.status for one in outcomes.values()} == {"done"}
    assert not notes


def test_a_job_whose_parent_is_tried_again_waits_for_it(home):
    """Nobody is busy then, and nobody waits for ever."""
    long, child = opened(home, LONG, SHORT)
    with beside(killing(long, 1)):
        outcomes, _ = submit([long, child], 2, needs={child: long})
    assert list(outcomes) == [long.key, child.key]


def test_a_worker_that_cannot_even_start_fails_its_job(home, monkeypatch):
    """Twice before it is the job's fault and twice then, instead of being waited for."""
    resource_tracker.ensure_running()  # is started by the same program
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(shutil.which("false") or ""))
    (short,) = opened(home, SHORT)
    outcomes, notes = submit([short], 1)
    assert "exit code 1 (the second time" in outcomes[short.key].reason
    assert ["before it began" in note for note in notes] == [True, True, False]
    assert short.status()["status"] == "failed"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "lost"),
        (torch.OutOfMemoryError("CUDA out of memory"), "lost"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "lost"),
        (ValueError("x"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_job_that_runs_out_of_memory_is_tried_again_too(tmp_path, error, status):
    """It may have been for the others' sake."""

    def work() -> Outcome:
        raise error

    job = Job("train", tmp_path)
    assert serve._outcome(job, work, lambda: False).status == status
    assert serve._outcome(job, work, lambda: True) == Outcome(job, "interrupted", "not started")


SCRIPT = """
import sys, pathlib
from vaebench.contracts import Job, Queue, Told
from vaebench.runs.executors.local import Local, shares
if __name__ == "__main__":
    machine = {"device": "cpu", "threads": 1, "checkpoint_seconds": 1e9}
    workers, *folders = sys.argv[1:]
    told = Told(machine, *[lambda *_: None] * 3, pathlib.Path())
    queue = Queue(Job("train", pathlib.Path(folder)) for folder in folders)
    try:
        for outcome in Local(workers=int(workers)).submit(queue, told):
            queue.ended(outcome)
            print(outcome.status, flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def start(runs: list[Run], tmp_path: Path, workers: int = 2) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [str(script), str(workers), *(str(run.folder) for run in runs)]
    return begin(*words, env={"MARK": str(tmp_path)}, start_new_session=True)


def begun(run: Run) -> bool:
    """Whether its training has logged something; there is no checkpoint until it is asked to stop."""
    return run.path("metrics.jsonl").exists()


@linux
def test_workers_of_a_killed_parent_store_and_end(home, tmp_path, whole):
    """kill -9: nothing is left after ten seconds, what was done is a checkpoint, and it resumes to the same bits."""
    (long,) = opened(home, LONG)
    command = start([long], tmp_path)
    until(lambda: begun(long))
    command.kill()
    ended(command)
    end = time.monotonic() + 10.0
    while any(kill_workers.marked(f"MARK={tmp_path}")):
        assert time.monotonic() < end, "something outlived its parent"
        time.sleep(0.05)
    assert long.status()["status"] == "interrupted"
    assert long.path("checkpoint.pt").exists()
    assert work(long).status == "done"
    assert files(long) == whole


def test_asked_to_stop_workers_store_first(home, tmp_path):
    """Also when the wish comes twice at once, as from `timeout`, and to the whole group."""
    long, other = opened(home, LONG, [*LONG, "seed=1"])
    command = start([long, other], tmp_path, workers=1)
    until(lambda: begun(long))
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(command.pid, number)
    _, out, error = ended(command)
    assert out.split() == ["interrupted", "stopped"], error
    assert error.count("stopping as soon as all is saved") == 1
    assert long.status()["status"] == "interrupted"
    assert long.path("checkpoint.pt").exists()
    assert other.status()["status"] == "new"


@pytest.mark.slow
def test_a_second_wish_ends_the_workers_at_once(home, tmp_path):
    """They are in uninterruptible work, here stopped: nobody waits for them."""
    (long,) = opened(home, LONG)
    command = start([long], tmp_path)
    until(lambda: begun(long))
    os.kill(long.status()["pid"], signal.SIGSTOP)
    command.send_signal(signal.SIGINT)
    time.sleep(1.5 * stopping._ONE_WISH)
    command.send_signal(signal.SIGINT)
    _, out, error = ended(command)
    assert out.split() == ["stopped"], error
    assert long.status() == {"status": "interrupted", "reason": "stopped at once"}


def state(pid: int) -> str:
    """R, S, T, ... of a process."""
    return kill_workers.read(pid, "stat").rpartition(b") ")[2][:1].decode()


@linux
@pytest.mark.slow
def test_a_suspended_command_suspends_its_workers(home, tmp_path, whole):
    """Ctrl-Z reaches only the command's own group."""
    (long,) = opened(home, LONG)
    command = start([long], tmp_path)
    until(lambda: begun(long))
    pids = (command.pid, int(long.status()["pid"]))
    command.send_signal(signal.SIGTSTP)
    until(lambda: all(state(pid) == "T" for pid in pids))
    command.send_signal(signal.SIGCONT)
    _, out, error = ended(command)
    assert out.split() == ["done"], error
    assert files(long) == whole


@contextmanager
def held(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the run's lock, and the run's status says so."""
    holder = holding(run.folder)
    run.set_status("running", pid=holder.pid, host="far\x1baway", started=0.0)
    try:
        yield holder
    finally:
        holder.communicate("")


def test_who_waits_for_a_run_says_for_whom(home, monkeypatch):
    """Once; then it has the run."""
    monkeypatch.setattr(disk, "_PATIENCE", 0.01)
    (short,) = opened(home, SHORT)
    notes: list[str] = []

    def release() -> None:
        until(lambda: len(notes))
        holder.kill()

    with held(short) as holder, beside(release):
        told = Told(MACHINE, lambda *_: None, lambda job, line: notes.append(line), notes.append, home)
        ended = Inline(go_on=False).submit(Queue([Job("train", short.folder)]), told)
        assert [outcome.status for outcome in ended] == ["done"]
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(0.0))
    assert notes == [f"waiting for pid {holder.pid} on far\\x1baway, since {since}, which makes the same run"]


@pytest.mark.parametrize("quiet", [False, True])
def test_what_is_to_be_known_is_said_on_stderr(capsys, quiet):
    job = Job("train", Path("a"))
    display = progress.Display({Path("a"): "beta_vae"}, Outlook([job], 1), quiet=quiet, console=Console())
    display.note(job, "waiting for another process")
    assert capsys.readouterr() == ("", "train beta_vae: waiting for another process\n")


def test_who_waits_for_a_run_can_be_stopped(home, monkeypatch):
    monkeypatch.setattr(disk, "_PATIENCE", 0.01)
    (short,) = opened(home, SHORT)
    with held(short):
        outcome = work(short, stop=lambda: True)
    assert outcome.status == "interrupted"
    assert short.status()["status"] == "running", "it is the other's to say"


def test_holder_of_a_lock_without_a_status_is_another_process():
    for facts in ({}, {"pid": "x", "host": 1, "started": 0}, {"pid": 1, "host": "a", "started": 1e300}):
        assert alive.holder(facts) == "another process"
    facts = {"pid": 1, "host": socket.gethostname(), "started": time.time()}
    assert f"pid 1 on {socket.gethostname()}, since 2" in alive.holder(facts)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shows no sign of life for a tenth of a second is dead, or hangs."""
    monkeypatch.setattr(disk, "_PATIENCE", 0.01)
    monkeypatch.setattr(worker, "_PATIENCE", 0.01)
    monkeypatch.setattr(alive, "SILENCE", 0.1)


def test_a_run_whose_owner_on_another_machine_is_silent_goes_on_here(home, impatient):
    (short,) = opened(home, SHORT)
    notes: list[str] = []
    with held(short):
        assert work(short, note=notes.append).status == "done"
    assert [note.split(", since")[0].split()[-1] for note in notes[:1]] == ["far\\x1baway"]
    assert "has shown no sign of life for " in notes[1]
    assert notes[1].endswith("; its run goes on here")


def test_a_run_whose_owner_on_this_machine_hangs_is_not_waited_for(home, impatient):
    (short,) = opened(home, SHORT)
    with held(short) as holder:
        short.set_status("running", pid=holder.pid, host=socket.gethostname(), started=0.0)
        outcome = work(short)
    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"pid {holder.pid} on {socket.gethostname()}, since ")
    assert outcome.reason.endswith(" and has the run; end it, and the same command goes on")
    assert short.status()["status"] == "running", "it is the other's to say"


def test_a_run_of_another_machine_whose_lock_is_not_seen_here_is_waited_for(home, monkeypatch):
    monkeypatch.setattr(worker, "_PATIENCE", 0.01)
    (short,) = opened(home, SHORT)
    short.set_status("running", pid=1, host="elsewhere", started=0.0)
    notes: list[str] = []
    with alive.touching(short.folder):
        assert short.state() == "running"
        assert work(short, note=notes.append, stop=lambda: bool(notes)).status == "interrupted"
    assert "waiting for pid 1 on elsewhere, since " in notes[0]
    monkeypatch.setattr(alive, "SILENCE", 0.0)
    assert short.state() == "interrupted"
    assert work(short).status == "done"


def test_who_was_taken_for_dead_leaves_the_run_to_the_other(home, monkeypatch):
    """A process that was suspended for long: what it would write now is not its own any more."""
    (short,) = opened(home, SHORT)
    other = {"status": "running", "pid": 1, "host": "elsewhere", "started": 0.0}

    def do(job, run, device, machine, heartbeat, note, stop) -> None:
        run.write_json("status.json", other)
        heartbeat(1, 2)

    monkeypatch.setattr(worker, "every", lambda seconds: lambda: True)
    monkeypatch.setattr(worker, "_do", do)
    outcome = work(short)
    assert outcome.status == "interrupted"
    assert "pid 1 on elsewhere, since " in outcome.reason
    assert outcome.reason.endswith("has taken the run over")
    assert short.status() == other


def test_workers_leave_room_for_the_processes_of_a_training(monkeypatch):
    monkeypatch.setattr("vaebench.runs.executors.local.cores", lambda: 16)
    jobs = {at: Local().at_once(gpus=at[0], processes=at[1]) for at in product((0, 8), (1, 4))}
    assert jobs == {(0, 1): 16, (0, 4): 4, (8, 1): 16, (8, 4): 2}
    assert Local(workers=3).at_once(gpus=8, processes=4) == 3


def test_a_worker_sees_a_gpu_for_each_process_of_a_training():
    assert shares(["2", "3", "5", "7"], 1) == ["2", "3", "5", "7"]
    assert shares(["2", "3", "5", "7"], 2) == ["2,3", "5,7"]


def test_inline_begins_nothing_after_an_interruption(home, monkeypatch):
    def interrupted(*_: object) -> None:
        raise Interrupted("stopped")

    runs = opened(home, SHORT, [*SHORT, "seed=1"])
    monkeypatch.setattr(worker, "_do", interrupted)
    told = Told(MACHINE, *[lambda *_: None] * 3, home)
    ended = Inline(go_on=False).submit(Queue(Job("train", run.folder) for run in runs), told)
    assert [outcome.status for outcome in ended] == ["interrupted"]
    assert runs[1].status()["status"] == "new"


def related(**needs: str) -> list[Job]:
    """Jobs, each with the letters of those it needs."""
    return [Job("train", Path(name), needs=tuple(map(Path, of))) for name, of in needs.items()]


def test_a_job_begins_when_its_own_parents_are_done():
    a, b, c, d = related(a="", b="a", c="", d="bc")
    begun: list[Job] = []
    queue = Queue([d, b, a, c], begin=begun.append)
    assert (queue.take(), queue.take(), queue.take()) == (a, c, None)
    queue.ended(Outcome(a, "done"))
    assert queue.take() == b
    queue.put_back(b)
    assert (queue.take(), queue.take()) == (b, None)
    queue.ended(Outcome(c, "done"))
    assert not queue.ready
    queue.ended(Outcome(b, "done"))
    assert (queue.take(), len(queue)) == (d, 0)
    assert begun == [a, c, b, b, d]


def test_what_needs_a_failed_job_is_left_out():
    a, b, c, d = related(a="", b="a", c="b", d="")
    queue = Queue([a, b, c, d])
    assert queue.take() == a
    queue.ended(Outcome(a, "failed"))
    assert list(queue) == [d]


def test_signals_within_a_second_are_one_wish(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    before = signal.getsignal(signal.SIGTERM)
    with stopping.stop_on_signal("stopping\n") as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert asked()
        now += 1.1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert capsys.readouterr().err == "stopping\n"
    assert signal.getsignal(signal.SIGTERM) is before


@linux
@pytest.mark.slow
@pytest.mark.parametrize("kind", kill_workers.KINDS)
def test_reproduction_with_kills_ends_with_the_same_files(kind, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kill_workers", "--kills", "3", "--seeds", "1", "--kinds", kind])
    assert kill_workers.main() == 0
