"""What a network inherits along with weights: the hyperparameters without which the weights do not fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.training.keyed import keyed_model
from deap_hpo.training.state import network_tensors
from deap_hpo.training.task import Task

_Shapes = dict[str, tuple[int, ...]] | None

_GENOMES = 8  # in which each hyperparameter is tried


def architecture_genes(task: Task, space: Space) -> tuple[int, ...]:
    """Give the positions of the genes that two networks must share for the weights of one to fit the other.

    These are the model's arguments that change the names or shapes of its weights, and the hyperparameters on which
    those depend. They are found by trial: networks are built that differ in one hyperparameter, at its bounds or with
    each of its choices, with all others in the middle of the space and at some other places.

    Args:
        task: The task.
        space: The search space.

    Example:
        >>> from deap_hpo import Float, Int
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> space = Space({"lr": Float(0.01, 1.0), "width": Int(8, 64), "dropout": Float(0.0, 0.5)})
        >>> architecture_genes(Task("digits", MLP, load_digits()), space)
        (1,)
    """
    rng = random.Random(0)
    genomes = [[0.5] * len(space), *(space.sample(rng) for _ in range(_GENOMES - 1))]
    shapes_of = _shapes_of(task, space)
    kept: set[str] = set()
    for name in space:
        if any(
            _changes(space, _with_in_use(space, name, genome, i), name, shapes_of) for i, genome in enumerate(genomes)
        ):
            kept |= {name, *_deciders(space, name)}
    return tuple(i for i, name in enumerate(space) if name in kept)


def _changes(space: Space, genome: Sequence[float], name: str, shapes_of: Callable[[Sequence[float]], _Shapes]) -> bool:
    """Tell whether a hyperparameter alone changes the shapes of a genome's network."""
    one = space[name]
    genes = [one.encode(choice) for choice in one.choices] if isinstance(one, Categorical) else [0.0, 1.0]
    first: _Shapes = None
    for gene in genes:
        shapes = shapes_of(_with_gene(space, genome, name, gene))
        first = shapes if first is None else first
        if shapes is not None and shapes != first:
            return True
    return False


def _with_in_use(space: Space, name: str, genome: Sequence[float], turn: int) -> Sequence[float]:
    """Give the genome with choices that bring a hyperparameter into use; `turn` selects among them."""
    for parent, choices in space.conditions.allowed.get(name, {}).items():
        decides: Any = space[parent]
        genome = _with_gene(space, genome, parent, decides.encode(choices[turn % len(choices)]))
        genome = _with_in_use(space, parent, genome, turn)
    return genome


def _with_gene(space: Space, genome: Sequence[float], name: str, gene: float) -> list[float]:
    return [gene if other == name else known for other, known in zip(space, genome, strict=True)]


def _deciders(space: Space, name: str) -> set[str]:
    """Give all hyperparameters that decide whether a hyperparameter is in use."""
    parents = set(space.conditions.allowed.get(name, {}))
    return parents.union(*(_deciders(space, parent) for parent in parents))


def _shapes_of(task: Task, space: Space) -> Callable[[Sequence[float]], _Shapes]:
    """Make the function that gives the shapes of a genome's network, or None if it cannot be built."""
    known: dict[str, _Shapes] = {}
    destinations = task.destinations

    def shapes_of(genome: Sequence[float]) -> _Shapes:
        architecture = destinations.split(space.decode(genome))["model"]
        key = repr(architecture)
        if key not in known:
            try:
                tensors = network_tensors(keyed_model(partial(task.model, **architecture), seed=0))
                known[key] = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            except Exception:  # its training will report the error
                known[key] = None
        return known[key]

    return shapes_of
