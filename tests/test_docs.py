"""The documentation is true: the site builds without a broken link, and every block of code on it runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_cli import CONFIG
from typer.testing import CliRunner

import deap_hpo
from deap_hpo.cli import app
from deap_hpo.configuration.assembly import make_task
from deap_hpo.configuration.config import load_config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.usefixtures("light_model", "small_forests")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_python_block_runs(page: str, here: Path) -> None:
    """The blocks of one page are one program."""
    (here / "figures").symlink_to(ROOT / "figures")  # some blocks read the measured tables
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_every_configuration_makes_a_task(page: str, here: Path) -> None:
    for number, text in enumerate(blocks(page, "toml")):
        path = here / f"block_{number}.toml"
        path.write_text(text)
        make_task(load_config(str(path)))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study named quick, and the starter."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "small.toml").write_text(CONFIG)
    return folder


def deleting(line: str) -> tuple[bool, str]:
    """The order in which commands run: deleting comes last."""
    return " delete " in line, line


SMALLER = {
    "run my_task": ["--dry-run"],
    "run --preset": ["--dry-run", "--set", "task.training_size=200", "--set", "task.validation_size=100"],
    "compare": ["--config", "small.toml"],
    "resume my_task": ["--set", "evolution.generations=2"],
}


@pytest.mark.fashion_mnist
@pytest.mark.usefixtures("no_figures")
def test_every_command_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long runs only plan or are made smaller; the rest run on small studies of the same names."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "path", list(sys.path))
    lines = {line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()}
    commands = [shlex.split(line)[1:] for line in sorted(lines, key=deleting) if line.startswith("deap-hpo")]
    assert len(commands) == len(lines) >= 12, "what is no command of ours is not run"
    call(["run", "small.toml", "--name", "quick"])
    call(["init", "my_task"])
    small = ["evolution.algorithm=random", "evolution.population=2", "training.epochs=1", "execution.executor=serial"]
    call(["run", "my_task.py:task", "--set", "evolution.generations=1", *(w for one in small for w in ("--set", one))])
    for command in commands:
        if command[0] == "init":
            continue  # done above
        changed = next((more for start, more in SMALLER.items() if " ".join(command).startswith(start)), [])
        needs_gpus = "execution.gpus=[0, 1]" in command and torch.cuda.device_count() < 2
        call([*command, *changed], refused="gpus" if needs_gpus else None)


def call(arguments: list[str], refused: str | None = None) -> None:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == (2 if refused else 0), (arguments, ended.output, ended.stderr)
    assert refused is None or ended.stderr.startswith(f"Error: {refused}")


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    commands = (tmp_path / "site" / "commands" / "index.html").read_text()
    assert all(f'id="{name}"' in commands for name in ("run", "resume", "init", "export", "dashboard"))
    settings = (tmp_path / "site" / "settings" / "index.html").read_text()
    assert all(f"<code>{name}</code>" in settings for name in ("validation_size", "max_epochs", "n_startup_trials"))


def test_the_reference_has_the_public_names_and_no_others() -> None:
    described = (DOCS / "api.md").read_text().partition("## Also public")[0]
    names = set(re.findall(r"^::: [\w.]+\.(\w+)$", described, re.MULTILINE)) - {"individual_type"} | {"Individual"}
    assert names == set(deap_hpo.__all__) - {"__version__"}


def test_every_page_can_be_reached() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in PAGES if page not in navigation] == []


def test_a_plain_error_text_of_the_troubleshooting_page_is_one_that_is_raised() -> None:
    """The headings quote messages: each must be found in the sources, except for the parts that vary."""
    sources = " ".join(path.read_text() for path in (ROOT / "deap_hpo").rglob("*.py"))
    sources = re.sub(r"\{[^}]*\}|\d+", "", re.sub(r'"\s*f?"', "", sources))
    quoted = re.findall(r"^\*\*`(.*?)`", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) >= 8
    for text in quoted:
        for part in text.split("..."):
            assert re.sub(r"\d+", "", part).strip(" '(),").split(",")[0] in sources, part
