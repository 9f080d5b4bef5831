"""An executor whose processes end without a word; a module, so that they can import it."""

from __future__ import annotations

import os

from benchmarks.rehearsal.measured import Measured


class Dying(Measured):
    """Every job of it is its process's end."""

    def _done(self, job, machine):
        os._exit(3)
