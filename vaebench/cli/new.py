"""``vaebench new KIND NAME``: a package of one's own that works, to be changed."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from vaebench import __version__
from vaebench.config import origins
from vaebench.config.choices import choices
from vaebench.disk import write_bytes
from vaebench.errors import UserError, shown, unknown

# What is written of each kind, and the command that tries it.
KINDS = {
    "model": "vaebench train model={name} dataset=digits",
    "dataset": "vaebench train dataset={name}",
    "suite": "vaebench eval suite={name} dataset=digits",
    "paper": "vaebench reproduce paper={name} scale=smoke",
}
_TEMPLATES = Path(__file__).parent / "templates"


def new(words: list[str]) -> str:
    """Write the package into the folder NAME. Returns what to do next, a line each.

    Raises:
        UserError: an unknown kind, a name that is taken or no name of a module, a folder with something in it.
    """
    if len(words) != 2:
        raise UserError(f"vaebench new: which? `vaebench new {'|'.join(KINDS)} NAME`")
    kind, name = words
    if kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    _check_name(kind, name)
    folder = Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{name}: there is something of that name here; choose another name, or an empty folder")
    command = KINDS[kind].format(name=name)
    files = _rendered(kind, name, command)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / path, text.encode())
    written = ", ".join(sorted(str(folder / path) for path in files))
    return f"written: {written}\nnow: cd {name} && pip install -e . && {command}\ntest: pytest\n"


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(f"{shown(name)}: is no name of a package; small letters, digits and _, like my_{kind}")
    if name in choices(kind):
        raise UserError(f"{name}: there is a {kind} of that name; choose another")
    if find_spec(name) is not None or name == origins.OWN:
        raise UserError(f"{name}: there is a Python package of that name; choose another")


def _rendered(kind: str, name: str, command: str) -> dict[str, str]:
    """The files by their path in the package's folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found, camel = {}, "".join(part.capitalize() for part in name.split("_"))
    for folder in (_TEMPLATES / "every", _TEMPLATES / kind):
        templates = Environment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
        )
        for template in templates.list_templates():
            path = template.removesuffix(".j2").replace("package", name, 1).replace("choice", name)
            if path.startswith(f"{name}/conf/experiment/"):
                path = path.replace("experiment/", f"experiment/{name}/", 1)
            found[path] = templates.get_template(template).render(
                name=name, camel=camel, kind=kind, command=command, version=__version__
            )
    return found
