"""How many files of vaebench a command goes through: those it imports, and those whose functions it calls.

``python -m benchmarks.entered train model=batchtopk dataset=digits train.max_steps=5``; of ``reproduce`` the jobs are
run in the same process. A function that only builds a class or a constant while its file is imported does not count.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "vaebench"


def entered(words: list[str]) -> tuple[set[str], set[str]]:
    """The files that the command imports, and those it calls into once they are imported."""
    imported: set[str] = set()
    called: set[str] = set()
    importing = 0

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal importing
        del argument
        code = frame.f_code
        if not code.co_filename.startswith(str(PACKAGE)):
            return
        name = str(Path(code.co_filename).relative_to(PACKAGE))
        if code.co_name == "<module>":
            importing += {"call": 1, "return": -1}.get(event, 0)
            imported.add(name)
        elif event == "call" and not importing:
            called.add(name)

    from vaebench.cli.main import main

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        main(words)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return imported, called


def run(words: list[str]) -> None:
    """Print both numbers, and the files that are called into."""
    if not words:
        sys.exit("which command? python -m benchmarks.entered train model=batchtopk dataset=digits")
    if words[0] == "reproduce":
        words = [*words, "executor.kind=inline", f"results={tempfile.mkdtemp()}"]
    imported, called = entered([*words, "quiet=true"])
    print(f"vaebench {' '.join(words)}")
    print(f"{len(imported | {'cli/main.py'})} files are imported, {len(called)} called into:")
    for name in sorted(called):
        print(f"  {name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as store:
        os.environ["VAEBENCH_HOME"] = store
        run(sys.argv[1:])
