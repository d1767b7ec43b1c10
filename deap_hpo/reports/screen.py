"""Tables on a terminal, however narrow it is: nothing is cut off, and no word is broken."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table; if the console is too narrow for it, a line for each column, so that nothing is cut off.

    Args:
        header: Names of the columns.
        rows: Cells, one in each row for each column; without rows, nothing is printed.
        console: The console to print to.

    Example:
        >>> console = Console(width=18)
        >>> with console.capture() as printed:
        ...     print_table(["method", "loss"], [["random", "0.4"], ["tpe", "0.3"]], console)
        >>> [line.split() for line in printed.get().splitlines()]
        [['method', 'loss'], ['random', '0.4'], ['tpe', '0.3']]
    """
    if not rows:
        return
    if _width(header, *rows) <= console.width:
        _print_lines([header, *rows], console)
        return
    while rows:  # as many as fit side by side, and the others below
        count = len(rows)
        while count > 1 and _width(*zip(header, *rows[:count], strict=True)) > console.width:
            count -= 1
        lines = list(zip(header, *rows[:count], strict=True))
        if _width(*lines) <= console.width:
            _print_lines(lines, console)
        else:
            console.print("\n".join(map(" ".join, lines)), markup=False, highlight=False)
        rows = rows[count:]
        if rows:
            console.print()


def _width(*lines: Sequence[str]) -> int:
    return sum(max(map(cell_len, column)) + 2 for column in zip(*lines, strict=True))


def _print_lines(lines: Sequence[Sequence[str]], console: Console) -> None:
    table = Table(*map(escape, lines[0]), box=None)
    for line in lines[1:]:
        table.add_row(*map(escape, line))
    console.print(table)
