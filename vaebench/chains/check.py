"""Every part of a chain built once, so that a bad value is an error before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs import kinds


def try_out(chain: Iterable[Request], *, remote_code: bool = False) -> dict[str, Any]:
    """Build what each request names; parents come before their children.

    ``remote_code``: whether the command allows code that comes with a model.

    Returns the models by the request's key. Raises `UserError` with the mistakes of all requests at once.
    """
    models: dict[str, Any] = {}
    lines: list[str] = []
    for request in chain:
        try:
            built = kinds.of(request["verb"]).check(request, models, remote_code=remote_code)
        except UserError as error:
            lines += error.lines
            continue
        if built is not None:
            models[request.key] = built
    if lines:
        raise UserError(*dict.fromkeys(lines))
    return models
