"""Completion in a shell: ``vaebench completion bash|zsh|fish`` prints what to put into its start-up file.

The script asks ``vaebench complete LINE`` for the words that may stand at the end of a line. Neither torch nor Hydra is
imported, so the answer is there in a quarter of a second.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from vaebench.config import origins
from vaebench.config.choices import DESCRIPTION, choices, leaf, usual
from vaebench.config.spine import ReproduceConfig, TrainConfig, options
from vaebench.errors import UserError, unknown
from vaebench.runs.store import Store, store_root

SCRIPTS = {
    "bash": """\
_vaebench() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n'
    local word="${line##* }"
    COMPREPLY=($(vaebench complete "$line" 2>/dev/null))
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]]; then compopt -o nospace; fi
}
complete -F _vaebench vaebench
""",
    "zsh": """\
_vaebench() {
    local -a found
    found=("${(@f)$(vaebench complete "$LBUFFER" 2>/dev/null)}")
    compadd -S '' -- $found
}
compdef _vaebench vaebench
""",
    "fish": """\
complete -c vaebench -f -a '(vaebench complete (commandline -cp))'
""",
}
_INSTALL = {
    "bash": '# put into ~/.bashrc: eval "$(vaebench completion bash)"',
    "zsh": '# put into ~/.zshrc, after compinit: eval "$(vaebench completion zsh)"',
    "fish": "# vaebench completion fish > ~/.config/fish/completions/vaebench.fish",
}
_TRAININGS = ("train", "eval", "answers", "prompt")
_TABLES = ("reproduce", "compare", "plan", "report")
# Groups whose options can be set.
_OPTIONS = frozenset("model dataset optim suite embedder reference tracker executor".split())


def completion(words: list[str]) -> str:
    """The script of a shell. Raises `UserError` for an unknown one."""
    if len(words) != 1 or words[0] not in SCRIPTS:
        raise UserError(unknown("shell", " ".join(words), SCRIPTS))
    return f"{_INSTALL[words[0]]}\n{SCRIPTS[words[0]]}"


def complete(line: str, verbs: Iterable[str]) -> list[str]:
    """The words that may stand at the end of a line, of which the beginning may be there."""
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # inside a quotation
        return []
    last = "" if not words or line[-1:].isspace() else words.pop()
    try:
        found = list(verbs) if not words else list(_after(words[0], words[1:], last))
    except UserError:  # a file with a mistake, a folder that is not there: the command itself says so
        return []
    return sorted({word for word in found if word.startswith(last)})


def _after(verb: str, words: Sequence[str], last: str) -> Iterable[str]:
    if verb in _TRAININGS:
        return _of_training(verb, words, last)
    if verb in _TABLES:
        return _of_tables(words, last)
    if verb == "list":
        from vaebench.cli.listing import SECTIONS

        return SECTIONS
    plain: dict[str, Iterable[str]] = {"new": ("model", "dataset", "suite", "paper"), "completion": tuple(SCRIPTS)}
    plain |= {"runs": ("show", "remove", "pack", "unpack", "push", "pull"), "data": ("status", "fetch", "verify")}
    if verb == "export" or (verb == "runs" and words):
        return _keys()
    if verb == "data" and words:
        return choices("dataset")
    return () if words else plain.get(verb, ())


def _of_training(verb: str, words: Sequence[str], last: str) -> Iterable[str]:
    """Groups and their choices, options of what is chosen, fields."""
    name, equals, _ = last.partition("=")
    if equals:
        group = name.lstrip("+").partition("@")[0]
        values = _keys() if name == "run" else choices(group) if group in origins.groups() else ()
        return [f"{name}={value}" for value in values]
    groups = [group for group in origins.groups() if group not in ("paper", "chain", "answers", "problems")]
    found = [f"{group}=" for group in groups if group in {*_OPTIONS, "scale", "experiment"}]
    found += [f"{name}=" for name in _fields(TrainConfig)]
    found += ["run="] if verb == "eval" else []
    chosen = dict(word.partition("=")[::2] for word in (*words, *usual("eval", words)) if "=" in word)
    for group in _OPTIONS & chosen.keys():
        if chosen[group] in choices(group):
            about = leaf(group, chosen[group])
            found += [f"{group}.{key}=" for key in about if key not in {*DESCRIPTION, "_target_", "name", "defaults"}]
    return found


def _of_tables(words: Sequence[str], last: str) -> Iterable[str]:
    """Papers and their tables, scales, datasets, fields."""
    name, equals, _ = last.partition("=")
    if not equals:
        return [f"{field}=" for field in (*_fields(ReproduceConfig), "tracker", "executor", "with")]
    papers = [word.removeprefix("paper=") for word in words if word.startswith("paper=")]
    values: Iterable[str] = ()
    if name == "table":
        values = [key for paper in papers or choices("paper") for key in leaf("paper", paper).get("tables", {})]
    elif name in ("paper", "scale", "dataset", "tracker", "executor"):
        values = choices(name)
    elif name == "seeds":
        values = ("auto",)
    return [f"{name}={value}" for value in values]


def _fields(spec: type) -> list[str]:
    """The options of a command; what a chain has is not one's to type."""
    return [name for name, _ in options(spec) if name not in ("chain", "link")]


def _keys() -> list[str]:
    return [run.key for run in Store(store_root()).runs()]
