"""What the site shows beside the pages in this folder: the commands as they describe themselves, and the figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add the page of commands, and the figures that pages show."""
    files.append(File.generated(config, "commands.md", content=commands()))
    for path in sorted((ROOT / "figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of top-level pages out of this folder, which work in the repository, make sense in the site."""
    if "/" in page.file.src_uri:
        return markdown
    markdown = markdown.replace("](../figures/", "](figures/")
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", lambda link: f"{link[1]} (`{link[2]}` in the repository)", markdown)


def commands() -> str:
    """Write the page of commands from the command line's own help."""
    from deap_hpo.cli import app

    group: Any = typer.main.get_command(app)
    parts = ["# Commands", f"{group.help} `deap-hpo COMMAND --help` says the same, `--json` prints JSON for scripts."]
    for name, command in group.commands.items():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join(["deap-hpo", name, *(f"[{one.name.upper()}]" for one in arguments)])
        parts += [f"## {name}", str(command.help), f"```text\n{usage} [OPTIONS]\n```"]
        parts += [re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", command.epilog or "")]
        rows = [f"| {_names(one)} | {_cell(one.help)} | {_default(one)} |" for one in command.params]
        parts += ["\n".join(["| option | meaning | default |", "| --- | --- | --- |", *rows])]
    parts += [
        "## Exit codes",
        "0: done. 2: wrong input; one sentence says what. 130: interrupted by Ctrl-C. 143: ended by SIGTERM. "
        "After 130 and 143 the command that goes on is printed.",
    ]
    return "\n\n".join(parts) + "\n"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    default = parameter.default
    shown = isinstance(default, (str, int, float)) and not isinstance(default, bool)
    return f"`{default}`" if shown else ""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")
