"""NaN on a metric's way: what compares, cuts or sorts would make an ordinary number of it."""

from __future__ import annotations

from torch import Tensor

from vaebench.errors import UserError


def require_finite(rows: Tensor, name: str) -> None:
    """Raise `UserError` if one of ``rows`` ``[n ...]`` holds NaN or infinity; ``name``: what the error calls them."""
    bad = (~rows.isfinite()).flatten(1).any(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise UserError(
            f"{name}: {int(bad.sum())} of {len(rows)} rows hold NaN or infinity (first: row {first}); "
            "look at what they come from: a model that diverged, broken data"
        )
