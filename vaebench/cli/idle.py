"""Options that a command would not look at: refused, because who gives one expects it to do something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig, TrainConfig
from vaebench.errors import UserError, shown

_ELSEWHERE = {"runtime", "store", "quiet", "chain", "parent"}  # of no request, or looked at with the chain
_ALONE = "one run is made at a time without -m"
_REPORTED = "all that is stored is written"
_COUNTED = "it is for `vaebench plan scale=paper`"
_PAGES = "it is for `vaebench report`, which writes the pages"
_SHOWN = "no table is shown"
_UNREAD = {
    "report": dict.fromkeys(
        ("table", "row", "scale", "dataset", "features", "seeds", "measure", "executor", "runtime", "tracker"),
        _REPORTED,
    )
    | {"full": _SHOWN},
    "plan": {"results": "nothing is written", "tracker": "nothing is run", "full": _SHOWN, "open": _PAGES},
    "reproduce": {"measure": _COUNTED, "open": _PAGES},
    "compare": {"measure": _COUNTED, "open": _PAGES, "full": "its table is shown anyway"},
}


def of_tables(words: Sequence[str], cfg: ReproduceConfig, verb: str) -> None:
    """Raise `UserError` for options of reproduce, plan or report that this one of them does not read."""
    unread = dict(_UNREAD[verb])
    if verb == "plan" and cfg.scale != "paper":
        unread["measure"] = _COUNTED
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

    def asked(found: list[TrainConfig]) -> list[list[Request]]:
        return [requests(cfg) for cfg in found]

    try:
        wanted = asked(here)
    except UserError:
        return  # the command says what is wrong
    idle, plains, made = dict[str, str](), list(map(asdict, here)), _by_key(wanted)
    elsewhere = _ELSEWHERE | ({"tracker"} if verb in ("train", "eval") else set())
    for key, word in ((_key(word), word) for word in words):
        if key.partition(".")[0] in elsewhere or key == "dataset":
            continue
        if any(
            _at(request.data, key) == _at(plain, key) is not None
            for plain, its in zip(plains, wanted, strict=True)
            for request in its
        ):
            continue
        try:
            others = composed([one for one in words if not f"{_key(one)}.".startswith(f"{key}.")])
            found = asked(others)
        except UserError:  # it does not go without
            continue
        if others != here and _by_key(found) == made:
            idle[word] = _ALONE if key.startswith("executor") else "the runs are the same without"
    _refuse(verb, idle)


def _by_key(wanted: Iterable[Iterable[Request]]) -> dict[str, Request]:
    """What is asked for, each once: two requests of one key may still differ in where their files lie."""
    return {request.key: request for its in wanted for request in its}


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
