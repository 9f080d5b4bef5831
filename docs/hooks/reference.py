"""The reference of the command line and of the configuration, made of the code and of conf/ when the site is built."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

from vaebench.cli import help as helps
from vaebench.cli.main import HELP, VERBS
from vaebench.config import choices, signatures, spine
from vaebench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
CLI, OVERVIEW = "reference/cli.md", "reference/configuration/index.md"
RUNS = ("train", "eval", "answers", "prompt")
TABLES = ("reproduce", "compare", "plan", "report")
# What a YAML file says of itself, which no command sets.
FIXED = {"_target_", "version", "defaults", "data", "needs", "extra", "builds_on", "about", "kind", "files", "mirrors"}
FIXED |= {"fillers", "templates", "law", "embedded", "parents", "input_shape"}
# Of each group: how it is chosen, where its name is not enough, and what it is.
GROUPS = {
    "model": ("model=NAME", "The method that is trained."),
    "network": ("network@model.network=NAME", "The network of a model whose latents lie on a grid."),
    "encoder": ("encoder@model.encoder=NAME", "The encoder of a model of features."),
    "decoder": ("decoder@model.decoder=NAME", "The decoder of a model of features."),
    "autoencoder": ("autoencoder@model.autoencoder=NAME", "The autoencoder of a tokenizer."),
    "dataset": ("dataset=NAME", "What is trained on and tested on; `dataset@test_on=NAME` tests on another set."),
    "problems": ("problems@dataset.problems=NAME", "Sets of questions."),
    "answers": ("answers@dataset.answers=NAME", "Who answers them."),
    "embedder": ("embedder=NAME", "What turns texts into vectors."),
    "suite": ("suite=NAME", "A protocol of evaluation."),
    "optim": ("optim=NAME", "The optimiser."),
    "reference": ("reference=NAME", "The distribution that latents are matched with."),
    "chain": ("chain=NAME link=LINK", "Runs that need each other, and what each builds on."),
    "scale": ("scale=NAME", "How much of a paper's protocol is run."),
    "experiment": ("experiment=NAME", "A row of a paper's table: a model with its options."),
    "tracker": ("tracker=NAME", "What shows runs while they are made; no part of a run's key."),
    "executor": ("executor=NAME", "Where runs are made; no part of a run's key."),
    "paper": ("paper=NAME", "A paper's tables, for `reproduce`, `compare`, `plan` and `report`."),
}
NAMES_ONLY = ("experiment", "paper", "chain")


def on_config(config: Any) -> Any:
    """Put a page for each group below the configuration."""
    for section in config["nav"]:
        for pages in section.values():
            for entry in pages if isinstance(pages, list) else ():
                if isinstance(entry, dict) and entry.get("Configuration") == OVERVIEW:
                    entry["Configuration"] = [OVERVIEW, *({group: page_of(group)} for group in groups())]
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the generated pages."""
    made = {CLI: commands(), OVERVIEW: overview(), **{page_of(group): of_group(group) for group in groups()}}
    for where, text in made.items():
        files.append(File.generated(config, where, content=text))
    return files


def groups() -> list[str]:
    """The folders of conf/, in the order of `GROUPS`; one that is not described there is a mistake."""
    there = {path.name for path in CONF.iterdir() if path.is_dir()}
    if there != GROUPS.keys():
        raise UserError(f"docs/hooks/reference.py describes other groups than conf/ has: {there ^ GROUPS.keys()}")
    return list(GROUPS)


def names_in(group: str) -> list[str]:
    """The choices of a group that vaebench itself has, whatever plug-ins are installed."""
    folder = CONF / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def page_of(group: str) -> str:
    """Where the page of a group is."""
    return f"reference/configuration/{group}.md"


def commands() -> str:
    """The page of the command line."""
    lines = ["# Command line", "", "Every command, what it is for, and what one types to begin with. Written by the"]
    lines += ["build from what `vaebench --help` prints, and `vaebench COMMAND --help` for each.", ""]
    for verb in VERBS:
        what, *examples = helps.ABOUT[verb]
        lines += [f"## {verb}", "", coded(what), "", "```sh", *examples, "```", ""]
        if verb in RUNS:
            lines += ["Options: [those of a run](configuration/index.md#a-run), and of all that is chosen."]
        elif verb in TABLES:
            lines += ["Options: [those of tables](configuration/index.md#tables)."]
        lines.append("")
    return "\n".join([*lines, "## All of it", "", "```text", HELP.rstrip(), "```", ""])


def overview() -> str:
    """The page of the options that every command has, and of the groups."""
    lines = ["# Configuration", "", "What can be chosen and set on the command line, by `NAME=VALUE`. Written by the"]
    lines += ["build from the code and from `conf/`; in a terminal, `vaebench list` says the same.", ""]
    lines += ["## Choices", "", "| group | chosen by | what there is |", "|---|---|---|"]
    for group in groups():
        how, what = GROUPS[group]
        names = ", ".join(names_in(group)) if group != "experiment" else ""
        lines.append(f"| [{group}]({group}.md) | `{how}` | {what}{names and f' *{names}*'} |")
    lines += ["", "## A run", "", "Options of `train`, `eval`, `answers` and `prompt`.", "", *fields(spine.TrainConfig)]
    lines += ["## Tables", "", "Options of `reproduce`, `compare`, `plan` and `report`; those of the machine are as"]
    lines += ["above.", "", *fields(spine.ReproduceConfig, leave_out=("runtime",))]
    return "\n".join(lines)


def fields(spec: Any, inside: str = "", leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    """A table of a dataclass's options, and below it one for each dataclass in it."""
    hints = typing.get_type_hints(spec, include_extras=True)
    about, said = documented(spec)
    rows, deeper = [], []
    for one, hint in spine.typed_fields(spec):
        name = f"{inside}{one.name}"
        if is_dataclass(hint) and one.name not in leave_out:
            deeper.append((name, hint))
        elif not is_dataclass(hint) and typing.get_origin(hint) is not dict:
            default = None if one.default in (MISSING, "???") else one.default
            rows.append((name, default, signatures.described(hints[one.name], None), said.get(one.name, "")))
    yield from [f"{about}", ""] if about else []
    yield from table(rows)
    for name, inner in deeper:
        yield from [f"### {name}", "", *fields(inner, f"{name}.")]


def documented(spec: Any) -> tuple[str, dict[str, str]]:
    """What a dataclass's docstring says of it, and of its fields: of each what stands behind its name and a colon."""
    text = " ".join((spec.__doc__ or "").split())
    about, *pairs = re.split(r"``(\w+)``: ", text)
    said = {name: sentence(words) for name, words in zip(pairs[::2], pairs[1::2], strict=True)}
    lines = about.removeprefix("``vaebench train`` and ``vaebench eval``. ").strip()
    return coded(lines if lines.endswith(".") else ""), said


def sentence(text: str) -> str:
    """A text of a docstring, as Markdown."""
    return coded(text.strip().rstrip(".").removesuffix(";"))


def coded(text: str) -> str:
    """Double backticks as Markdown has them."""
    return text.replace("``", "`")


def of_group(group: str) -> str:
    """The page of one group: its choices, with their options."""
    how, what = GROUPS[group]
    lines = [f"# {group}", "", f"{what} Chosen by `{how}`.", ""]
    if group in NAMES_ONLY:
        found = ((name, *head(CONF / group / f"{name}.yaml")) for name in names_in(group))
        rows = (f"| `{name}` | {cell(' '.join(words))} |" for name, *words in found)
        return "\n".join([*lines, f"| {group} | |", "|---|---|", *rows, ""])
    options = how.partition("=")[0].partition("@")[2] or group
    for name in names_in(group):
        lines += [f"## {name}", "", *leaf(group, name, options)]
    return "\n".join(lines)


def leaf(group: str, name: str, where: str) -> Iterator[str]:
    """What the YAML of a choice says: its first comment, and its options with their defaults."""
    path = CONF / group / f"{name}.yaml"
    yield from [" ".join(head(path)), ""]
    found = choices.leaf(group, name)
    hints = hints_of(group, found)
    notes = {key: note for one in reversed(lineage(group, name)) for key, note in comments(one).items()}
    rows = [
        (f"{where}.{key}", value, signatures.described(hints[key], None) if key in hints else "", notes.get(key, ""))
        for key, value in found.items()
        if key not in FIXED and not (group == "dataset" and key in ("name", "shape") and isinstance(value, list))
    ]
    yield from table([row for row in rows if row[0] != f"{where}.name"])
    if needed := found.get("extra"):
        yield from [f"Needs `pip install 'vaebench[{needed}]'`.", ""]


def lineage(group: str, name: str) -> list[Path]:
    """The file of a choice, and those of the choices that it is a variant of."""
    path = CONF / group / f"{name}.yaml"
    bases = yaml.safe_load(path.read_text("utf-8")).get("defaults") or ()
    inner = [one for base in bases if isinstance(base, str) and base != "_self_" for one in lineage(group, base)]
    return [path, *inner]


def hints_of(group: str, found: dict[str, Any]) -> dict[str, Any]:
    """What each option may be, where the file names the code."""
    if "_target_" not in found:
        return {}
    where = {"problems": "dataset.problems", "answers": "dataset.answers"}.get(group, group)
    return signatures.hints(choices.find(where, found["_target_"]))


def head(path: Path) -> list[str]:
    """The comment that a YAML file begins with; of several lines those that are prose."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line and not line.startswith("# vaebench "):
            lines.append(line.removeprefix("#").strip())
    return lines


def comments(path: Path) -> dict[str, str]:
    """What stands behind an option of the file's top level, as a comment."""
    found = re.findall(r"^(\w+):.*?\s# (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {key: note.strip() for key, note in found}


def table(rows: list[tuple[str, Any, str, str]]) -> Iterator[str]:
    """Options in lines; a column that would be empty is left out."""
    if not rows:
        return
    typed = any(takes for _, _, takes, _ in rows)
    columns = ["option", "default", *(["takes"] if typed else []), "what"]
    yield from [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, value, takes, note in rows:
        words = [f"`{name}`", f"`{shown(value)}`", *([worded(takes)] if typed else []), cell(note)]
        yield f"| {' | '.join(words)} |"
    yield ""


def shown(value: Any) -> str:
    """A value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def worded(takes: str) -> str:
    """What an option takes; of a mapping not of what."""
    return cell(re.sub(r"collections\.abc\.Mapping\[.*\]", "a mapping", takes))


def cell(text: str) -> str:
    """A text within a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
