"""Numbers, durations and counts as text, in the same form everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def format_params(params: Mapping[str, Any]) -> str:
    """Write hyperparameters in one line.

    Example:
        >>> format_params({"lr": 0.0123456, "width": 64, "parameters": 44426.0})
        'lr 0.01235, width 64, parameters 44426'
    """
    return ", ".join(f"{name} {format_cell(value)}" for name, value in params.items())


def format_value(value: float) -> str:
    """Write an objective's value, with four decimals if they suffice.

    Example:
        >>> format_value(0.31234), format_value(3.2e-6), format_value(-5e300)
        ('0.3123', '3.2e-06', '-5e+300')
    """
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e6 else f"{value:.4g}"


def plural(count: float, word: str) -> str:
    """Write a count with its noun, in the plural if needed.

    Example:
        >>> plural(1, "epoch"), plural(2, "epoch")
        ('1 epoch', '2 epochs')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Write metrics in one line.

    Example:
        >>> format_metrics({"accuracy": 0.8912, "parameters": 5450.0})
        'accuracy 0.8912, parameters 5450'
    """
    return ", ".join(f"{name} {_metric(value)}" for name, value in metrics.items())


def _metric(value: float) -> str:
    return format_cell(float(value)) if abs(value) > 1 and float(value).is_integer() else format_value(value)


def format_seconds(seconds: float) -> str:
    """Write a duration.

    Example:
        >>> format_seconds(7), format_seconds(95), format_seconds(7322)
        ('7 s', '1 min 35 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_cell(value: Any) -> str:
    """Write a table cell: a number with four digits, or a whole one below 1e9 with all of them; "-" for NaN.

    Example:
        >>> format_cell(5450.0), format_cell(0.123456), format_cell(float("nan")), format_cell("sgd")
        ('5450', '0.1235', '-', 'sgd')
    """
    if isinstance(value, float):
        if math.isnan(value):  # not in use, or not measured
            return "-"
        # Whole numbers may be floats, for example in a column with NaN, or as a number of parameters.
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return str(value)
