"""The notebooks run, in small sizes; their committed outputs are clean and follow from the tables."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = ["01_quickstart", "02_paper_runs", "03_hyperparameter_impact", "04_comparing_strategies", "05_the_leak"]
SMALL = {
    "01_quickstart": "GENERATIONS, POPULATION = 2, 5",
    "04_comparing_strategies": "SEEDS, BUDGET, FOLDS = 2, 12, 2",
}
SMALL_FORESTS = "from deap_hpo.analysis import importance as made\nmade._TREES, made._TREES_OF_A_RESAMPLE = 8, 2"
IMPORTS = {"deap_hpo", "functools", "json", "matplotlib", "numpy", "pandas", "pathlib"}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def streams(notebook: Any) -> list[tuple[str, str]]:
    return [
        (output.name, output.text)
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    ]


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str) -> None:
    notebook = read(name)
    for cell in code_cells(notebook):
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = SMALL[name]
    if "importances(" in "".join(cell.source for cell in code_cells(notebook)):
        notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL_FORESTS))
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    said = streams(notebook)
    assert [text for kind, text in said if kind == "stderr"] == []
    if name in ("02_paper_runs", "05_the_leak"):
        assert said == streams(read(name)), "its output is older than its tables"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_clean_and_whole(name: str) -> None:
    notebook = read(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any("execution" in cell.metadata for cell in cells), "when it ran says nothing"
    assert not [text for kind, text in streams(notebook) if kind == "stderr"]
    texts = [output.get("text", "") for cell in cells for output in cell.outputs]
    texts += [str(output.get("data", {}).get("text/plain", "")) for cell in cells for output in cell.outputs]
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|Users)/", "\n".join([*texts, *(c.source for c in cells)]))
    pictures = [any("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells]
    assert any(pictures)
    assert all(there for cell, there in zip(cells, pictures, strict=True) if re.search(r"\bplot_\w+\(", cell.source))
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words > 150


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_the_package_and_what_every_notebook_has(name: str) -> None:
    tree = ast.parse("\n".join(cell.source for cell in code_cells(read(name))))
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert names <= IMPORTS
