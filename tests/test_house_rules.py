"""The rules of docs/architecture.md that can be read off the source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vaebench"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

# What each part of vaebench may import of vaebench; imports point down. A part is a module or a folder.
LEAVES = {"contracts", "errors", "compat", "signatures", "infinite", "stopping", "writing"}
METHODS = {"models", "suites", "nn", "sources", "embedders", "references"}
# The column that meets the methods only in build.
SPINE = {
    *(
        "bounds",
        "cli",
        "commands",
        "compose",
        "config",
        "costs",
        "items",
        "listing",
        "matching_requests",
        "overrides",
        "planning",
        "progress",
        "reproduce",
        "requests",
        "schedules",
        "serve",
        "targets",
        "terminal",
        "text_requests",
        "titles",
        "trained",
        "trying",
    ),
    *("checkpoint", "evaluate", "executors", "records", "runtime", "staged", "stages", "store", "train", "worker"),
    *("papers", "report"),
}
MAY_IMPORT = {
    "errors": set(),
    "compat": set(),
    "stopping": set(),
    "signatures": {"errors"},
    "infinite": set(),
    "bounds": {"signatures", "errors"},
    "terminal": {"errors"},
    "config": {"bounds", "signatures", "data.contents", "data.download", "data.files", "data.places", "errors"},
    "contracts": {"contracts", "errors"},
    "nn": {"nn", *LEAVES},
    "metrics": {"metrics", "nn", "data.download", *LEAVES},
    "data": {"data", "config", "terminal", *LEAVES},
    "models": {"nn", "data.arithmetic", *LEAVES},
    "suites": {"suites", "metrics", "nn", "data.images", "data.audio", "data.answers", *LEAVES},
    "sources": {"sources", "data", "metrics.bounded", *LEAVES},
    "embedders": {"embedders", *LEAVES},
    "references": {"references", "nn", "data.download", "data.class_names", "data.latents", *LEAVES},
    "papers": {"papers", "config", "errors", "infinite"},
    "writing": {"errors"},
    "report": {"report", "papers", "config", "store", "writing", "errors", "infinite"},
    "schedules": {"bounds", "config", "errors"},
    "targets": {"config", "errors"},
    "train": {"data", "schedules", *LEAVES},
}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """``vaebench.models.ae`` -> ``models``; ``vaebench.train`` -> ``train``."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """Modules imported when the code runs, inside functions too; what is only for type checkers is left out."""
    pending: list[ast.AST] = [parse(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if (ROOT / Path(*inner.split("."))).with_suffix(".py").exists() else str(node.module)
        pending.extend(ast.iter_child_nodes(node))


def importers_of(*packages: str) -> set[str]:
    """The parts that import any of the top-level packages."""
    return {
        module_name(path).removeprefix("vaebench.")
        for path in SOURCES
        if any(name.split(".")[0] in packages for name in imports(path))
    }


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_point_down(part):
    wrong = []
    for path in SOURCES:
        if part_of(module_name(path)) != part:
            continue
        for name in imports(path):
            if not name.startswith("vaebench."):
                continue
            inner = name.removeprefix("vaebench.")
            if not any(inner == allowed or inner.startswith(f"{allowed}.") for allowed in MAY_IMPORT[part]):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, f"{part} may import {sorted(MAY_IMPORT[part])}: {wrong}"


def test_the_spine_names_no_method():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        if part_of(module_name(path)) in SPINE
        for name in imports(path)
        if name.startswith("vaebench.") and part_of(name) in METHODS
    ]
    assert not wrong, "models and suites are chosen by configuration and built by build.py"


def test_hydra_ends_early():
    assert importers_of("hydra") <= {"compose", "overrides"}
    configured = {"bounds", "cli", "commands", "compose", "config", "items", "planning", "reproduce"}
    configured |= {"requests", "text_requests", "matching_requests"}
    assert importers_of("omegaconf") <= configured | {"papers.tables", "data.fetch"}


@pytest.mark.parametrize("part", ["papers", "report"])
def test_papers_and_report_name_no_torch(part):
    assert not {name for name in importers_of("torch", "torchvision", "torchmetrics") if name.split(".")[0] == part}


def loaded_after(code: str, tmp_path: Path) -> set[str]:
    """The top-level packages in memory after the code ran in a fresh interpreter."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_quick_commands_import_nothing_heavy(argument, tmp_path):
    code = f"sys.argv = ['vaebench', {argument!r}]; from vaebench.cli import main; main()"
    heavy = {"torch", "torchvision", "torchmetrics", "sklearn", "scipy", "matplotlib"}
    assert not loaded_after(code, tmp_path) & heavy


@pytest.mark.parametrize("part", ["papers", "report"])
def test_papers_and_report_load_without_torch(part, tmp_path):
    modules = sorted(module_name(path) for path in SOURCES if part_of(module_name(path)) == part)
    assert "torch" not in loaded_after(f"import {', '.join(modules)}", tmp_path)


def test_a_worker_watches_its_parent_before_anything_heavy_is_imported(tmp_path):
    assert not loaded_after("import vaebench.serve", tmp_path) & {"torch", "numpy", "omegaconf", "rich"}


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_nothing_read_from_disk_can_run_code():
    banned = {"eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load"}
    banned |= {
        f"{name}.{verb}"
        for name in ("pickle", "cloudpickle", "dill", "joblib")
        for verb in ("load", "loads", "Unpickler")
    }
    wrong = []
    for path in SOURCES:
        for call, name in calls(path):
            where = f"{path.relative_to(ROOT)}:{call.lineno} {name}"
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            unsafe_load = name == "torch.load" and keywords.get("weights_only") != "True"
            unsafe_numpy = name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False"
            if name in banned or unsafe_load or unsafe_numpy or keywords.get("shell", "False") != "False":
                wrong.append(where)
    assert not wrong


def test_a_name_becomes_code_in_one_place():
    """`targets` compares it first; the packages of `embedders.sentence` are a list of its own."""
    lookups = ("instantiate", "get_object", "get_class", "get_method", "import_module", "locate", "resolve_name")
    callers = {
        (module_name(path), name.split(".")[-1])
        for path in SOURCES
        for _, name in calls(path)
        if name.split(".")[-1] in lookups
    }
    assert callers == {("vaebench.targets", "import_module"), ("vaebench.embedders.sentence", "import_module")}


def test_no_default_hides_in_a_lookup():
    wrong = [
        f"{module_name(path)}:{call.lineno}"
        for path in SOURCES
        for call, name in calls(path)
        if name in ("cfg.get", "config.get") and len(call.args) == 2
    ]
    assert not wrong, "a default stands in a signature or a dataclass, not in cfg.get(x, default)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_in_a_head(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES, f"{lines} lines"
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [
        f"{f.name}: {f.end_lineno - f.lineno + 1} lines"
        for f in functions
        if f.end_lineno - f.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def texts() -> list[Path]:
    folders = ("vaebench", "conf", "docs", "benchmarks", "tests", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")]
    return [path for path in files if path.suffix in (".py", ".md", ".yaml", ".toml", ".json", "") and path.is_file()]


def test_texts_name_no_machine_and_leave_nothing_undone():
    machine_path = re.compile(r"(?<![\w.}])/(?:home|root|work|Users|mnt|opt)/")
    unfinished = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    wrong = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if path != Path(__file__).resolve() and (machine_path.search(line) or unfinished.search(line)):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not wrong


def test_targets_of_the_configuration_are_ours_or_torch_optim_and_stand_at_the_top_of_a_leaf():
    wrong = []
    for path in (ROOT / "conf").rglob("*.yaml"):
        for indent, target in re.findall(r"^(.*)_target_\W*:\s*(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            if indent or not re.fullmatch(r"(vaebench|torch\.optim)(\.[A-Za-z]\w*)+", target):
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert not wrong
