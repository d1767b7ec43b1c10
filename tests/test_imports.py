"""The layers of the package, read from its imports, and the size of its files."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import deap_hpo

PACKAGE = Path(deap_hpo.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}


@functools.cache
def imported(module: str) -> frozenset[str]:
    """The imports of a module, inside functions too; ``from package import name`` counts as both."""
    names: set[str] = set()
    tree = ast.parse(MODULES[module].read_text())
    # Imports that a module makes only when it is run as a script do not count.
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.dump(node.test))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def uses(module: str, *roots: str) -> bool:
    return any(name == root or name.startswith(f"{root}.") for name in imported(module) for root in roots)


def reached(module: str) -> set[str]:
    """The package's own modules that a module imports, directly or through others."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for name in imported(waiting.pop()) & set(MODULES):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


FOLDERS = {
    "search_space": set(),
    "evolution": {"search_space"},
    "records": {"search_space"},
    "training": {"search_space"},
    "execution": set(),
    "functions": {"records", "training"},
    "strategies": {"search_space", "evolution", "records"},
    "analysis": {"search_space", "evolution", "records", "strategies"},
    "plotting": {"search_space"},
    "configuration": {"search_space", "evolution", "records", "training", "execution", "functions", "strategies"},
    "reports": {"records", "strategies", "analysis", "plotting", "configuration"},
    "commands": {"records", "training", "execution", "analysis", "configuration", "reports"},
}
"""The folders of the package, from the ground up, each with those that its files import."""


def test_folders_import_those_below_them() -> None:
    assert {module.split(".")[1] for module in MODULES if module.count(".") > 1} == set(FOLDERS)
    for folder in FOLDERS:
        files = [module for module in MODULES if module.startswith(f"deap_hpo.{folder}.")]
        used = {name.split(".")[1] for module in files for name in imported(module) if name.startswith("deap_hpo.")}
        assert used & set(FOLDERS) - {folder} == FOLDERS[folder], folder


def test_training_and_execution_know_nothing_of_deap() -> None:
    for module in MODULES:
        if module.startswith(("deap_hpo.training", "deap_hpo.execution")):
            for other in {module, *reached(module)}:
                assert not uses(other, "deap", "optuna"), (module, other)


def test_only_the_population_is_trained_in_stacks() -> None:
    stacks = "deap_hpo.training.stacking"
    assert {module for module in MODULES if uses(module, stacks) and not module.startswith(stacks)} == {
        "deap_hpo.training.population",
        "deap_hpo.training.trainers",  # which checks an argument for it
    }


def test_spaces_and_evolution_know_nothing_of_networks_records_and_workers() -> None:
    for module in MODULES:
        if module.startswith(("deap_hpo.search_space", "deap_hpo.evolution")):
            for other in {module, *reached(module)}:
                assert not uses(other, "torch", "optuna", "deap_hpo.study", "deap_hpo.execution"), (module, other)


def test_only_reports_draw() -> None:
    drawing = {module for module in MODULES if uses(module, "deap_hpo.plotting")}
    assert {module.split(".")[1] for module in drawing} == {"plotting", "reports", "visualization"}


def test_plotting_computes_nothing_and_analysis_draws_nothing() -> None:
    for module in MODULES:
        if module.startswith("deap_hpo.plotting"):
            assert not uses(module, "scipy", "sklearn", "optuna", "deap_hpo.analysis"), module
        if module.startswith("deap_hpo.analysis"):
            assert not uses(module, "matplotlib", "rich", "deap_hpo.plotting", "deap_hpo.reports"), module


def test_nothing_imports_the_command_line_or_imports_in_a_circle() -> None:
    for module in MODULES:
        assert not uses(module, "deap_hpo.cli"), module
        of_the_command_line = module == "deap_hpo.cli" or module.startswith("deap_hpo.commands")
        assert of_the_command_line or not uses(module, "deap_hpo.commands"), module
        assert module not in reached(module), module


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short_and_say_what_they_are_for(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text)), "no header"


def test_the_public_names_are_there_and_their_import_is_light() -> None:
    for name in deap_hpo.__all__:
        assert getattr(deap_hpo, name) is not None
    tree = ast.parse(Path(deap_hpo.__file__).read_text())
    declared = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "deap_hpo" in str(node.module)]
    assert {alias.name: node.module for node in declared for alias in node.names} == deap_hpo._HOMES
    assert set(deap_hpo.__all__) <= set(dir(deap_hpo))
    with pytest.raises(AttributeError, match="no attribute 'eaTrucation'"):
        _ = deap_hpo.eaTrucation  # type: ignore[attr-defined]
    code = "import deap_hpo, sys; print([m for m in ('torch', 'optuna', 'matplotlib', 'deap') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
