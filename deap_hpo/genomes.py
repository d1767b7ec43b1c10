"""Genomes as records hold them: numbers, texts, expression trees as text, and sequences of these."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Set, Sized
from contextlib import contextmanager
from numbers import Complex, Real
from typing import Any

from deap_hpo.errors import InputError, different_genes, warn

_EXACT = 2**53  # up to which each integer is a float
_HEAP_TYPE = 1 << 9  # of a type's flags: it is made when the program runs
_NO_GENES = (TypeError, ValueError, OverflowError, RuntimeError)  # the last from tensors, and for endless nesting


def genes_of(individual: Iterable[Any], *, numbers_only: bool = False) -> tuple[Any, ...]:
    """Give the genes of an individual as they are recorded.

    Numbers are recorded as floats, or as they are written if no float equals them. A tree of `deap.gp` is one gene, its
    expression, of which ``gp.compile`` makes a function; a list of trees (with automatically defined functions) has a
    gene for each. Sequences inside are tuples, sets are in ascending order, and mappings are pairs in the order of
    their keys.

    Args:
        individual: The individual.
        numbers_only: Whether only a flat sequence of numbers will do, as with a search space; all become floats.

    Raises:
        InputError: The genes are something else.

    Warns:
        DeapHPOWarning: The nodes of a tree have types with which DEAP's crossover is not repeatable.

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
        genes = tuple(float(gene) for gene in individual) if numbers_only else _genes(individual)
    except _NO_GENES:
        kinds = (
            "numbers, one for each hyperparameter" if numbers_only else "numbers, texts, trees, or sequences of them"
        )
        raise InputError(
            f"individuals must be sequences of {kinds}, which is what a record holds as their genes; "
            f"got {reprlib.repr(individual)}."
        ) from None
    if not numbers_only:
        for tree in [individual] if _is_tree(individual) else filter(_is_tree, individual):
            _warn_of_types(tree)
    return genes


def _genes(individual: Any) -> tuple[Any, ...]:
    if _is_tree(individual):
        return (str(individual),)
    if isinstance(individual, Mapping):
        individual = individual.items()
    elif hasattr(individual, "tolist"):  # an array or a tensor, in numbers of Python's
        individual = individual.tolist()
    genes = tuple(gene if type(gene) is float else _gene(gene) for gene in individual)  # there may be a million
    if not isinstance(individual, Set):
        return genes
    try:  # a set of texts has another order in each process; numbers come before texts, and these before tuples
        return tuple(sorted(genes, key=lambda gene: (type(gene).__name__, gene)))
    except TypeError:
        return tuple(sorted(genes, key=repr))


def _gene(gene: Any) -> Any:
    if type(gene) is int and abs(gene) <= _EXACT:
        return float(gene)
    if gene is None:
        return None
    if isinstance(gene, str) or _is_tree(gene):
        return str(gene)
    if isinstance(gene, bytes | bytearray) or (isinstance(gene, Complex) and not isinstance(gene, Real)):
        raise TypeError  # as numbers they would lose something
    if getattr(gene, "ndim", 0) or not hasattr(gene, "__float__"):
        return _genes(gene)
    try:
        number = float(gene)
    except OverflowError:
        return str(gene)
    return number if number == gene or math.isnan(number) else str(gene)


def _is_tree(one: Any) -> bool:
    """Tell a tree of `deap.gp`, without importing it: evaluations need not have DEAP."""
    return isinstance(one, list) and hasattr(one, "searchSubtree")


def _warn_of_types(tree: Any) -> None:
    """Warn of types of one's own in a strongly typed tree: DEAP's crossover draws from a set of them."""
    types = {node.ret for node in tree}
    # The hash of a class that is defined in Python is its address, which differs from process to process.
    by_address = [one for one in types if one.__flags__ & _HEAP_TYPE and not _has_a_hash_of_its_own(type(one))]
    unordered = sorted(one.__name__ for one in by_address)
    if len(types) > 1 and unordered:
        warn(
            f"the trees have types of their own ({', '.join(unordered)}), from a set of which DEAP's crossover "
            "draws in an order that differs from process to process: a run with them cannot be repeated or resumed. "
            "Give these types a hash by name (docs/how-to/deap.md, Trees and other genomes)"
        )


def _has_a_hash_of_its_own(metaclass: Any) -> bool:
    return metaclass.__hash__ is not type.__hash__


def check_unchanged(individual: Any, genes: tuple[Any, ...], number: int, *, numbers_only: bool = False) -> None:
    """Check that an evaluation has left its individual's genes as they were, except those of a used-up iterator.

    Args:
        individual: The individual, after the evaluation.
        genes: Its genes before.
        number: Number of the evaluation.
        numbers_only: As in `genes_of`.

    Raises:
        InputError: The genes have changed.

    Example:
        >>> check_unchanged([1.0, 0.5], (1.0, 0.5), 3)
        >>> check_unchanged([0.5, 0.5], (1.0, 0.5), 3)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: evaluate must leave the individual as it is; evaluation 3 has changed the genes ...
    """
    now = genes_of(individual, numbers_only=numbers_only)
    if now and repr(now) != repr(genes):  # as text, NaN equals NaN
        old, new = different_genes(genes, now)
        raise InputError(
            f"evaluate must leave the individual as it is; evaluation {number} has changed the {old} to {new}. Make "
            "code that improves an individual, such as a local search, an operator, and apply it before `map`."
        )


@contextmanager
def left_alone(individual: Any, number: int) -> Iterator[None]:
    """Check that an evaluation leaves its individual as it is, where the evaluation runs: a worker has a copy of it.

    What is given instead of an individual, such as hyperparameters by name, is not checked.

    Raises:
        InputError: The genes have changed.

    Warns:
        DeapHPOWarning: An attribute was set, which is not recorded.

    Example:
        >>> with left_alone({"lr": 0.1}, 0):
        ...     pass
    """
    try:
        genes = None if type(individual) is dict or not isinstance(individual, Sized) else _genes(individual)
    except _NO_GENES:
        genes = None
    before = dict(getattr(individual, "__dict__", {}))
    yield
    if genes is None:
        return
    check_unchanged(individual, genes, number)
    after = getattr(individual, "__dict__", {})
    news = [name for name in after if name != "fitness" and after[name] is not before.get(name)]
    if news:
        warn(
            f"evaluate sets attributes of individuals ({', '.join(news)}), which are not recorded: an individual lacks "
            "them if it was evaluated by a worker process or before a resume, or equals an earlier one. Return "
            "Evaluation(values, metrics=...), which study.entries[individual.origin[0]].evaluation has each time"
        )
