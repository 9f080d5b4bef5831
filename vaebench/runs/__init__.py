"""Runs: where they are stored, how they are made and opened again."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


# `vaebench.runs()` lists the runs (`vaebench.api`). Importing this package puts it where that function was, under the
# same name; so it can be called, too.
class _Called(ModuleType):
    def __call__(self, *where: str, store: str | os.PathLike[str] | None = None) -> DataFrame:
        from vaebench.runs import listed

        return listed.frame(where, store)


sys.modules[__name__].__class__ = _Called
