"""What a stranger gets: the wheel, its dependencies, the Makefile."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from commands import ROOT, VAEBENCH, python
from vaebench.engine.runtime import provenance

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
IMPORT_NAMES = {
    "markdown-it-py": "markdown_it",
    "annotated-types": "annotated_types",
    **{"hydra-core": "hydra", "pyyaml": "yaml", "scikit-learn": "sklearn"},
    "vector-quantize-pytorch": "vector_quantize_pytorch",
    **{"huggingface-hub": "huggingface_hub", "pillow": "PIL", "umap-learn": "umap", "mlflow-skinny": "mlflow"},
}
EXTRAS = {
    IMPORT_NAMES.get(Requirement(line).name, Requirement(line).name.replace("-", "_"))
    for extra in (
        "reasoning",
        "jina",
        "vllm",
        "ray",
        "remote",
        "audio",
        "speech",
        "diffusers",
        "umap",
        "language",
        "hub",
        "hf",
        "quantisers",
        "wandb",
        "mlflow",
        "trackio",
    )
    for line in PROJECT["project"]["optional-dependencies"][extra]
}


def test_the_wheel_holds_the_whole_configuration_and_all_code(installed):
    def tree(folder: Path, pattern: str) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob(pattern)}

    assert tree(installed / "vaebench" / "conf", "*.yaml") == tree(ROOT / "conf", "*.yaml")
    assert tree(installed / "vaebench", "*.py") == tree(ROOT / "vaebench", "*.py")
    assert (installed / "vaebench" / "py.typed").exists()
    pages = Path("vaebench", "report", "templates")
    assert tree(installed / pages, "*.*") == tree(ROOT / pages, "*.*") > {Path("front.html.j2"), Path("site.css")}
    style = Path("vaebench", "report", "pictures", "house.mplstyle")
    assert (installed / style).read_bytes() == (ROOT / style).read_bytes()
    packages = Path("vaebench", "cli", "templates")
    assert tree(installed / packages, "*.*") == tree(ROOT / packages, "*.*") > {Path("every", "pyproject.toml.j2")}


def test_an_installed_vaebench_lists_its_choices(installed, tmp_path):
    done = python(*VAEBENCH, "list", path=installed, cwd=tmp_path, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    for name in ("batchtopk", "beta_vae", "mnist", "digits", "reconstruction", "noise"):
        assert name in done.stdout


def test_every_import_is_a_declared_dependency():
    declared = {IMPORT_NAMES.get(requirement.name, requirement.name) for requirement in REQUIREMENTS}
    used = set()
    for path in (ROOT / "vaebench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.split(".")[0])
    used -= {"vaebench", *sys.stdlib_module_names}
    assert used <= declared | EXTRAS, f"imported, but not declared: {sorted(used - declared - EXTRAS)}"
    found = {name for name in ("torchvision", "torchmetrics") if name in declared}  # by name: an import takes seconds
    assert declared <= used | found, f"declared, but not imported: {sorted(declared - used)}"


def test_provenance_names_only_what_is_installed_with_vaebench():
    named = provenance(torch.device("cpu"))["packages"]
    assert set(named) <= {requirement.name for requirement in REQUIREMENTS} | EXTRAS


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_dependencies_are_bounded_and_installed_in_range(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == {">=", "<"}, "a lower bound that was tried and an upper bound that was not"
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (help .*)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    for target in targets.group(1).split():
        assert f"make {target} " in shown


def test_the_continuous_integration_script_runs_checks_tests_and_documentation():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-3:] == ["make check", "make test", "make docs"]
