"""Options that a command would not look at: refused, because who gives one expects it to do something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig, TrainConfig
from vaebench.errors import UserError, shown

_ELSEWHERE = {"runtime", "store", "quiet", "chain", "parent"}  # of no request, or looked at with the chain
_REPORTED = "all that is stored is written"
_COUNTED = "it is for `vaebench plan scale=paper`"
_UNREAD = {
    "report": dict.fromkeys(
        ("table", "row", "scale", "dataset", "features", "seeds", "measure", "executor", "runtime", "tracker"),
        _REPORTED,
    ),
    "plan": {"results": "nothing is written", "tracker": "nothing is run"},
    "reproduce": {"measure": _COUNTED},
    "compare": {"measure": _COUNTED},
}


def of_tables(words: Sequence[str], cfg: ReproduceConfig, verb: str) -> None:
    """Raise `UserError` for options of reproduce, plan or report that this one of them does not read."""
    unread = dict(_UNREAD[verb])
    if verb == "plan" and cfg.scale != "paper":
        unread["measure"] = _COUNTED
    if cfg.executor.kind == "inline":
        unread["executor.workers"] = "executor.kind=inline runs one job after the other"
    given = ((word, one) for word in words for one in unread if f"{_key(word)}.".startswith(f"{one}."))
    _refuse(verb, {word: unread[one] for word, one in given})


# Which options are read follows from the chain, the kind of data, the suite. Nothing lists that: either a command asks
# for the same runs without an option, or it does not. Composing once more takes some hundredths of a second, so it is
# done for those options only that no request holds under their own name.
def of_runs(
    words: Sequence[str],
    here: list[TrainConfig],
    composed: Callable[[Sequence[str]], list[TrainConfig]],
    requests: Callable[[TrainConfig], list[Request]],
    verb: str,
) -> None:
    """Raise `UserError` for options without which a command asks for the same runs.

    Those that say what is usual anyway are none. ``here``: the configurations of the words; ``composed``: what makes
    those of other words; ``requests``: what one of them makes.
    """

    def asked(found: list[TrainConfig]) -> dict[str, Request]:
        return {request.key: request for cfg in found for request in requests(cfg)}

    try:
        wanted = asked(here)
    except UserError:
        return  # the command says what is wrong
    idle, plains = {}, list(map(asdict, here))
    elsewhere = _ELSEWHERE | ({"tracker"} if verb in ("train", "eval") else set())
    for key, word in ((_key(word), word) for word in words):
        if key.partition(".")[0] in elsewhere or key == "dataset":
            continue
        if any(
            _at(request.data, key) == _at(plain, key) is not None for request in wanted.values() for plain in plains
        ):
            continue
        try:
            others = composed([one for one in words if not f"{_key(one)}.".startswith(f"{key}.")])
            found = asked(others)
        except UserError:  # it does not go without
            continue
        if others != here and found == wanted:
            idle[word] = "the runs are the same without"
    _refuse(verb, idle)


def _at(data: Any, key: str) -> Any:
    """What a dotted key leads to in plain data; None where it leads nowhere."""
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _refuse(verb: str, idle: Mapping[str, str]) -> None:
    if idle:
        raise UserError(
            *(
                f"{shown(word)}: does nothing for this `vaebench {verb}`, {why}; leave it out"
                for word, why in idle.items()
            )
        )


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
