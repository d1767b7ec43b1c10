"""Genomes as records hold them: numbers, texts, expression trees as text, and sequences of these."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Set
from typing import Any

from deap.gp import PrimitiveTree

from deap_hpo.errors import InputError
from deap_hpo.records.entries import Entry


def genes_of(individual: Iterable[Any], *, numbers_only: bool = False) -> tuple[Any, ...]:
    """Give the genes of an individual as they are recorded.

    Numbers are recorded as floats and texts as they are. A tree of `deap.gp` is one gene, its expression, from which
    ``gp.PrimitiveTree.from_string`` makes it again; a list of trees (with automatically defined functions) has a gene
    for each. Sequences inside are tuples, sets are in ascending order, and mappings are pairs in the order of their
    keys.

    Args:
        individual: The individual.
        numbers_only: Whether only a flat sequence of numbers will do, as with a search space.

    Raises:
        InputError: The genes are something else.

    Example:
        >>> genes_of([1, 0.5]), genes_of("HEL"), genes_of([(0, 1), (2, 3)]), genes_of({3, 1, 2})
        ((1.0, 0.5), ('H', 'E', 'L'), ((0.0, 1.0), (2.0, 3.0)), (1.0, 2.0, 3.0))
        >>> from deap import gp
        >>> pset = gp.PrimitiveSet("main", 1)
        >>> pset.addPrimitive(max, 2)
        >>> genes_of(gp.PrimitiveTree.from_string("max(ARG0, 0.5)", pset))
        ('max(ARG0, 0.5)',)
    """
    try:
        return tuple(float(gene) for gene in individual) if numbers_only else _genes(individual)
    except (TypeError, ValueError, RecursionError):
        kinds = (
            "numbers, one for each hyperparameter" if numbers_only else "numbers, texts, trees, or sequences of these"
        )
        raise InputError(
            f"individuals must be sequences of {kinds}, which is what a record holds as their genes; "
            f"got {reprlib.repr(individual)}."
        ) from None


def _genes(individual: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(individual, PrimitiveTree):
        return (str(individual),)
    if isinstance(individual, Mapping):
        individual = individual.items()
    genes = tuple(map(_gene, individual))
    # A set of texts has another order in each process. Numbers come before texts, and these before tuples.
    return tuple(sorted(genes, key=lambda gene: (type(gene).__name__, gene))) if isinstance(individual, Set) else genes


def _gene(gene: Any) -> Any:
    if isinstance(gene, str | PrimitiveTree):
        return str(gene)
    try:
        return float(gene)
    except (TypeError, ValueError, RuntimeError):  # the last one from tensors with several elements
        return _genes(gene)


def check_unchanged(individual: Any, entry: Entry) -> None:
    """Check that an evaluation has not changed its individual's genes; those of a used-up iterator are not checked.

    Raises:
        InputError: The genes have changed.

    Example:
        >>> from deap_hpo import Evaluation
        >>> entry = Entry(3, 0, (1.0, 0.5), Evaluation((0.1,)), seed=0)
        >>> check_unchanged([1.0, 0.5], entry)
        >>> check_unchanged([0.5, 0.5], entry)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: evaluate must leave the individual as it is; evaluation 3 has changed the genes ...
    """
    genes = genes_of(individual)
    if genes and repr(genes) != repr(entry.genes):  # as text, NaN equals NaN
        raise InputError(
            f"evaluate must leave the individual as it is; evaluation {entry.number} has changed the genes "
            f"{reprlib.repr(list(entry.genes))} to {reprlib.repr(list(genes))}. Make code that improves an "
            "individual, such as a local search, an operator, and apply it before `map`."
        )
