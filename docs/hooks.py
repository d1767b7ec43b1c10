"""Add to the site pages of commands and settings, made from their own descriptions, and the figures of pages."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of commands and of settings, and the figures that pages show."""
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "settings.md", content=settings()))
    for path in sorted((ROOT / "figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links out of this folder, which work in the repository, for the site, which has only the figures."""
    out = "../" * (1 + page.file.src_uri.count("/"))
    markdown = markdown.replace(f"]({out}figures/", f"]({out.removeprefix('../')}figures/")
    elsewhere = rf"\[([^\]]+)\]\({re.escape(out)}([^)]+)\)"
    return re.sub(elsewhere, lambda link: f"{link[1]} (`{link[2]}` in the repository)", markdown)


def commands() -> str:
    """Write the page of commands from the command line's own help."""
    from deap_hpo.cli import app

    group: Any = typer.main.get_command(app)
    parts = [
        "# Commands",
        f"{group.help} `deap-hpo COMMAND --help` says the same; `--json`, where there is one, prints JSON for scripts.",
    ]
    for name, command in group.commands.items():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join(["deap-hpo", name, *(f"[{one.name.upper()}]" for one in arguments)])
        parts += [f"## {name}", str(command.help), f"```text\n{usage} [OPTIONS]\n```"]
        parts += [re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", command.epilog or "")]
        rows = [(_names(one), one.help, _default(one)) for one in command.params]
        parts += [_table(("option", "meaning", "default"), rows)]
    parts += [
        "## Exit codes",
        "0: done. 1: a fault of the program, with its traceback. 2: wrong input; one sentence says what. "
        "130: interrupted by Ctrl-C. 143: ended by SIGTERM. After 130 and 143 the command that goes on is "
        "printed. `replay` ends with 0 whether the network is the same or not: it says which, in JSON as "
        "`same_weights`.",
    ]
    return "\n\n".join(parts) + "\n"


SETTINGS = """# Settings

What a TOML file for `deap-hpo run` may hold, section by section; whatever it leaves out has its default. For one run,
`--set SECTION.KEY=VALUE` changes a setting, and `--set space.lr.high=1.0` a bound. A preset is such a file: see
`deap_hpo/presets` in the repository. A setting that does not exist is refused, with the nearest name that does.
"""
SPACE = """## space

What is searched: one line for each hyperparameter. It is either a training setting, by the name of a field of
[`Recipe`](api.md#deap_hpo.training.recipe.Recipe) (`lr`, `momentum`, `batch_size`, ...), or an argument of the network.
With `log = true` its logarithm is what is uniform; with `step` its values are low, low + step, ..., high; with `when`
it is searched only where others have certain choices.

```toml
[space]
lr = { type = "float", low = 1e-4, high = 1.0, log = true }
width = { type = "int", low = 8, high = 64, step = 8 }
optimizer = { type = "categorical", choices = ["sgd", "adam"] }
momentum = { type = "float", low = 0.0, high = 0.9, when = { optimizer = ["sgd"] } }
layers = { type = "int", low = 1, high = 3 }
width_3 = { type = "int", low = 8, high = 64, when = { layers = [3] } }
```
"""


def settings() -> str:
    """Write the page of settings from the configuration's own descriptions."""
    from deap_hpo.configuration.config import RunConfig
    from deap_hpo.strategies import MULTI_FIDELITY, STRATEGIES

    parts = [SETTINGS]
    for section, described in RunConfig.model_fields.items():
        if section == "space":
            parts.append(SPACE)
            continue
        model: Any = described.annotation
        rows = [(f"`{name}`", one.description, _literal(one.default)) for name, one in model.model_fields.items()]
        parts += [f"## {section}", model.__doc__, _table(("setting", "meaning", "default"), rows)]
    where = {**STRATEGIES, **MULTI_FIDELITY}
    rows = [row for name in sorted(where) for row in _arguments(name, where[name])]
    parts += [
        "## evolution.arguments",
        "What each strategy takes besides `study.seed` and `training.epochs`. The arguments of "
        "[`nsga-ii`, `nsga-iii`](how-to/multi-objective.md) and [`pbt`](how-to/pbt.md) are on their pages.",
        _table(("algorithm", "argument", "meaning", "default"), rows),
    ]
    return "\n\n".join(parts) + "\n"


def _arguments(name: str, where: str) -> Iterable[tuple[str, ...]]:
    """Give a row for each argument of a strategy, as its docstring describes it."""
    module, _, attribute = where.partition(":")
    make = getattr(import_module(module), attribute)
    sections = griffe.Docstring(inspect.getdoc(make), lineno=1).parse("google", warnings=False)
    described = next(one.value for one in sections if one.kind is griffe.DocstringSectionKind.parameters)
    defaults = inspect.signature(make).parameters
    for one in described:
        if one.name in ("batch_size", "population_size"):
            default = "`evolution.population`"
        elif one.name in ("space", "seed", "epochs", "budget", "propose"):  # set elsewhere, or Python functions
            continue
        else:
            given = defaults[one.name].default
            default = "" if given is inspect.Parameter.empty else _literal(given)
        yield f"`{name}`", f"`{one.name}`", " ".join(one.description.split()), default


def _table(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _literal(default: Any) -> str:
    """Write a default as in TOML; an empty text if there is none."""
    return "" if default is None else f"`{json.dumps(default)}`"


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
