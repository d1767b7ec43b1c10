"""What figures can be drawn of: a study, run or on record, of which an evaluation ended well."""

from __future__ import annotations

from typing import Any

from deap_hpo.errors import InputError, shown
from deap_hpo.results import Results


def check_study(study: Any) -> None:
    """Check that figures are asked of a study of this package.

    Raises:
        InputError: It is something else.

    Example:
        >>> check_study("quick")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: study must be a study of this package, as `optimize` returns and \
`load_study(name, storage)` reads; got 'quick'.
    """
    if not isinstance(study, Results):
        kind = type(study)
        given = shown(study) if study is None or kind is str else f"one of type {kind.__module__}.{kind.__qualname__}"
        within = ", whose attribute `study` is one" if isinstance(getattr(study, "study", None), Results) else ""
        raise InputError(
            "study must be a study of this package, as `optimize` returns and `load_study(name, storage)` reads; "
            f"got {given}{within}."
        )


def check_drawable(study: Results) -> None:
    """Check that a study has something to draw.

    Raises:
        InputError: It is no study, or no evaluation ended well and keeps its constraints.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> check_drawable(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=3))
    """
    check_study(study)
    if not any(entry.evaluation.feasible for entry in study.entries):
        raise InputError(
            f"The study {study.name!r} has no evaluation to draw that ended well and keeps its constraints."
        )
