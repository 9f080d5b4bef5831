"""The rules of docs/architecture.md that can be read off the source."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from commands import ROOT, python

PACKAGE = ROOT / "vaebench"
PAGE = ROOT / "docs" / "architecture.md"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 10  # of what is neither a constructor nor built from a YAML
# What is longer, and by how much it is: it may only shrink, and goes from this list when it is short enough.
LONGER: dict[str, dict[str, int]] = {}

# The rooms, from the ground up. What a room imports lies below it.
ROOMS = (
    *("errors", "compat", "stopping", "disk", "config", "data", "contracts", "nn", "metrics", "models", "suites"),
    *("sources", "embedders", "references", "engine", "runs", "chains", "papers", "report", "reproduce", "cli", "api"),
)
# Of a room: the only ones below it that it imports.
MAY_IMPORT = {
    "config": {"errors"},
    "models": {"nn", "contracts", "config.signatures", "compat", "errors"},
    "suites": {
        *("metrics", "nn", "contracts", "config.signatures", "config.rehearsal", "data.images", "data.audio"),
        *("data.answers", "data.points", "compat", "errors"),
    },
    "sources": {
        *("data", "nn.pretrained.hub", "contracts", "config.signatures", "metrics.bounded", "compat", "disk", "errors"),
    },
    "embedders": {"nn.pretrained.hub", "contracts", "config.signatures", "compat", "disk", "errors"},
    "references": {
        "nn",
        "contracts",
        "config.signatures",
        "config.choices",
        "compat",
        "data.fetch",
        "data.latents",
        "errors",
    },
    "papers": {"config.choices", "config.signatures", "config.rehearsal", "contracts", "disk", "errors"},
    "report": {"papers", "config.choices", "contracts", "runs.store", "data.places", "disk", "errors"},
}
# They meet the rest in `runs.build` only, where a configuration names one of them.
METHODS = {"models", "suites", "nn", "sources", "embedders", "references"}
SPINE = {"config", "engine", "runs", "chains", "papers", "report", "reproduce", "cli"}
MOST_ROOMS = 22


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """``vaebench.models.ae`` -> ``models``; ``vaebench.engine.loop`` -> ``engine``."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path, *, typing: bool = False) -> Iterator[str]:
    """Modules imported when the code runs, inside functions too; ``typing``: and those only for type checkers."""
    pending: list[ast.AST] = [parse(path)]
    while pending:
        node = pending.pop()
        only_typing = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if only_typing and not typing:
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield imported(node, alias)
        pending.extend(ast.iter_child_nodes(node))


def imported(node: ast.ImportFrom, alias: ast.alias) -> str:
    """The module that ``from module import name`` loads: ``module.name``, if that is one."""
    inner = f"{node.module}.{alias.name}"
    path = ROOT / Path(*inner.split("."))
    return inner if path.with_suffix(".py").exists() or (path / "__init__.py").exists() else str(node.module)


def importers_of(*packages: str) -> set[str]:
    """The parts that import any of the top-level packages."""
    return {
        module_name(path).removeprefix("vaebench.")
        for path in SOURCES
        if any(name.split(".")[0] in packages for name in imports(path))
    }


def inner_imports(path: Path) -> set[str]:
    """What a file imports of vaebench, without the ``vaebench.``; its version is no room's."""
    found = {name.removeprefix("vaebench.") for name in imports(path) if name.startswith("vaebench.")}
    return found - {"__version__"}


def test_the_rooms_are_those_of_the_list():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there - {"__init__", "__main__"} == set(ROOMS)
    assert len(ROOMS) <= MOST_ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room):
    below = set(ROOMS[: ROOMS.index(room)]) | {room}
    allowed = {*MAY_IMPORT.get(room, below), room}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        if part_of(module_name(path)) == room
        for name in inner_imports(path)
        if name.split(".")[0] not in below or not any(name == one or name.startswith(f"{one}.") for one in allowed)
    ]
    assert not wrong


def drawn() -> dict[str, set[str]]:
    """The arrows of the picture in docs/architecture.md."""
    (picture,) = re.findall(r"^```mermaid\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found: dict[str, set[str]] = {}
    for room, below in re.findall(r"^ +(\w+) -\.?-> (.*)$", picture, re.MULTILINE):
        found.setdefault(room, set()).update(below.split(" & "))
    return found


def test_the_picture_of_the_house_shows_every_import():
    arrows = drawn()
    assert arrows.keys() | set().union(*arrows.values()) == set(ROOMS)
    reached: dict[str, set[str]] = {}
    for room in ROOMS:
        below = arrows.get(room, set())
        assert below <= reached.keys(), f"{room}: an arrow that does not point down"
        reached[room] = below.union(*(reached[one] for one in below))
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        for name in inner_imports(path)
        if (room := part_of(module_name(path))) in reached and name.split(".")[0] not in {room, *reached[room]}
    ]
    assert not wrong


def test_the_page_says_the_same_numbers():
    page = PAGE.read_text(encoding="utf-8")
    assert f"A file has {MAX_FILE_LINES} lines at most, a function {MAX_FUNCTION_LINES}. " in page
    assert "ten parameters" in page
    assert f"has {MOST_ROOMS} rooms at most" in page


def test_no_modules_import_each_other_in_a_circle():
    graph = {module_name(path): {f"vaebench.{name}" for name in _at_once(path)} for path in SOURCES}
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in graph.get(module, ()):
                walk(other, (*way, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def _at_once(path: Path) -> set[str]:
    """What is imported of vaebench when the module is, not within its functions."""
    own = {name for node in parse(path).body if isinstance(node, ast.ImportFrom) for name in _named(node)}
    return {name.removeprefix("vaebench.") for name in own if name.startswith("vaebench.")}


def _named(node: ast.ImportFrom) -> Iterator[str]:
    yield from (imported(node, alias) for alias in node.names)


def test_the_spine_names_no_method():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        if part_of(module_name(path)) in SPINE
        for name in inner_imports(path)
        if name.split(".")[0] in METHODS and name != "sources.prompts"
    ]
    assert not wrong, "models and suites are chosen by configuration and built by runs.build"


def words_of_papers_and_methods() -> set[str]:
    """The names of papers, of the models that are not also everyday words, and of the links of chains."""
    everyday = {"ae", "vae", "classifier", "identity", "points", "regressor", "supervised", "encoder", "autoencoder"}
    everyday |= {"reference", "features", "plain", "joint", "tune", "generator", "diffusion"}
    links = {name for path in (ROOT / "conf" / "chain").glob("*.yaml") for name in yaml.safe_load(path.read_text())}
    named = {path.stem for group in ("paper", "model") for path in (ROOT / "conf" / group).glob("*.yaml")}
    return (named | links) - everyday


@pytest.mark.parametrize("room", ["config", "engine", "runs", "chains", "reproduce", "report"])
def test_no_word_of_a_paper_or_a_method_is_in_the_spine(room):
    words = re.compile(rf"(?<![\w/])({'|'.join(sorted(words_of_papers_and_methods()))})(?![\w])")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in (PACKAGE / room).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if words.search(line)
    ]
    assert not wrong


def test_hydra_ends_early():
    assert importers_of("hydra") <= {"config.compose", "config.overrides", "config.search"}
    assert importers_of("omegaconf") <= {"config.compose", "config.layers", "config.overrides", "config.spine"}


@pytest.mark.parametrize("part", ["papers", "report"])
def test_papers_and_report_name_no_torch(part):
    assert not {name for name in importers_of("torch", "torchvision", "torchmetrics") if name.split(".")[0] == part}


def loaded_after(code: str, tmp_path: Path) -> set[str]:
    """The top-level packages in memory after the code ran in a fresh interpreter."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n' + ' '.join(sys.modules))"
    done = python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_quick_commands_import_nothing_heavy(argument, tmp_path):
    code = f"sys.argv = ['vaebench', {argument!r}]; from vaebench.cli.main import main; main()"
    heavy = {"torch", "torchvision", "torchmetrics", "sklearn", "scipy", "matplotlib"}
    assert not loaded_after(code, tmp_path) & heavy


@pytest.mark.parametrize("part", ["papers", "report", "suites.pictures"])
def test_what_is_shown_loads_without_torch(part, tmp_path):
    modules = sorted(name for name in map(module_name, SOURCES) if f"{name}.".startswith(f"vaebench.{part}."))
    assert modules
    assert "torch" not in loaded_after(f"import {', '.join(modules)}", tmp_path)


def test_a_suites_pictures_say_what_there_is_to_see_and_draw_nothing():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (PACKAGE / "suites" / "pictures").glob("*.py")
        for name in imports(path)
        if not name.startswith(("vaebench.contracts.pictures", "vaebench.suites.pictures"))
        and name.split(".")[0] not in sys.stdlib_module_names | {"numpy"}
    ]
    assert not wrong


def choices(*groups: str) -> set[str]:
    return {path.stem for group in groups for path in (ROOT / "conf" / group).glob("*.yaml")}


def test_the_report_has_no_word_of_a_paper_a_method_or_a_dataset():
    """Names of choices as texts in code, and the words of methods anywhere in it; docstrings are prose."""
    groups = ("paper", "model", "suite", "dataset", "embedder", "encoder", "network", "reference", "chain")
    names = choices(*groups) - {"classifier", "text"}  # fields of protocols and of table.json
    words = re.compile(r"(?i:codebook|teacher|entropy|batch.?top|r-?cvae|v[pqm]-?vae|ldmae|dmvae)|student")
    wrong = []
    for path in [*(PACKAGE / "report").rglob("*.py"), *(PACKAGE / "report").rglob("*.j2")]:
        text = path.read_text(encoding="utf-8")
        wrong += [f"{path.relative_to(ROOT)}: {found}" for found in words.findall(text)]
        for node in ast.walk(parse(path)) if path.suffix == ".py" else ():
            if isinstance(node, ast.Constant) and node.value in names:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert not wrong, "a picture of a suite stands beside it, a word of a paper in its YAML"


def test_a_worker_watches_its_parent_before_anything_heavy_is_imported(tmp_path):
    assert not loaded_after("import vaebench.runs.serve", tmp_path) & {"torch", "numpy", "omegaconf", "rich"}


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
    """`choices` and `kinds` compare it first; the packages of `embedders.sentence` are a list of its own."""
    lookups = ("instantiate", "get_object", "get_class", "get_method", "import_module", "locate", "resolve_name")
    callers = {
        (module_name(path), name.split(".")[-1])
        for path in SOURCES
        for _, name in calls(path)
        if name.split(".")[-1] in lookups
    }
    assert callers == {
        ("vaebench.config.choices", "import_module"),
        ("vaebench.runs.kinds", "import_module"),
        ("vaebench.embedders.sentence", "import_module"),
    }


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
    sizes = {"lines": path.read_text(encoding="utf-8").count("\n")}
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for one in functions:
        sizes[one.name] = max(sizes.get(one.name, 0), one.end_lineno - one.lineno + 1)
    limits = dict.fromkeys(sizes, MAX_FUNCTION_LINES) | {"lines": MAX_FILE_LINES}
    too_long = {name: size for name, size in sizes.items() if size > limits[name]}
    listed = LONGER.get(str(path.relative_to(ROOT)), {})
    assert too_long.keys() == listed.keys(), too_long
    assert all(size <= listed[name] for name, size in too_long.items()), too_long
    built = {target.rpartition(".")[2] for target in named_in_yaml() if target.startswith(f"{module_name(path)}.")}
    many = {
        one.name: count
        for one in functions
        if (count := len([*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs])) > MAX_PARAMETERS
    }
    assert many.keys() <= {"__init__", *built}, many


@cache
def named_in_yaml() -> set[str]:
    """The targets of all leaves."""
    found = (path.read_text(encoding="utf-8") for path in (ROOT / "conf").rglob("*.yaml"))
    return {target for text in found for target in re.findall(r"^_target_: *(\S+)", text, re.MULTILINE)}


def texts() -> list[Path]:
    folders = ("vaebench", "conf", "docs", "benchmarks", "tests", ".ci", ".github", ".devcontainer")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [
        ROOT / name
        for name in ("README.md", "CHANGELOG.md", "CITATION.cff", "Dockerfile", "Makefile", "pyproject.toml")
    ]
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".json", ".cff", "")
    return [path for path in files if path.suffix in kinds and path.is_file()]


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
