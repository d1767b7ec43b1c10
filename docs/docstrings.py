"""Lets the site read this project's docstrings: their `Example:` is what Google's style calls `Examples:`."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the sections, and fences those that are code as it stands (`Example::`)."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object when it has been read."""
        if obj.docstring:
            text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            code = re.compile(r"^( *)([^\n]*)::\n\n((?:\1 +[^\n]*\n?|\n)+)", re.MULTILINE)
            obj.docstring.value = code.sub(_fenced, text)


def _fenced(match: re.Match[str]) -> str:
    indent, title, code = match.groups()
    body = "\n".join(line[len(indent) + 4 :] for line in code.rstrip().splitlines())
    fenced = "\n".join(f"{indent}{line}" for line in f"```python\n{body}\n```".splitlines())
    return f"{indent}{title}:\n\n{fenced}\n\n"
