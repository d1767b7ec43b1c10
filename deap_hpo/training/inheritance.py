"""What a network inherits along with weights: the hyperparameters with which it is the same network."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from deap_hpo.checks import is_number
from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.training.keyed import keyed_model
from deap_hpo.training.state import network_tensors
from deap_hpo.training.task import Task
from deap_hpo.training.tokens import Tokens, own_attributes

_GENOMES = 8  # in which each hyperparameter is tried


def architecture_genes(task: Task, space: Space, varied: Collection[str] = ()) -> tuple[int, ...]:
    """Give the positions of the genes that stay with the weights, because with other values it is another network.

    These are the hyperparameters that change arguments of the model, unless they change only dropout rates; and the
    hyperparameters on which those depend. They are found by trial: networks are built that differ in one
    hyperparameter, at its bounds or with each of its choices, with all others in the middle of the space and at some
    other places. A dropout rate is a number from 0 to 1 in an attribute of a module that is called `p` or has "drop" in
    its name. A hyperparameter with "drop" in its own name is taken for one if the weights have the same shapes with all
    its values: the network may keep it elsewhere, such as in a configuration.

    Args:
        task: The task.
        space: The search space.
        varied: Names of hyperparameters that do not stay, as long as the weights have the same shapes with all values.

    Raises:
        InputError: With other values of one that is to vary, the weights have other shapes.

    Example:
        >>> from deap_hpo import Float, Int
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> space = Space({"lr": Float(0.01, 1.0), "width": Int(8, 64), "dropout": Float(0.0, 0.5)})
        >>> architecture_genes(Task("digits", MLP, load_digits()), space)
        (1,)
        >>> architecture_genes(Task("digits", MLP, load_digits()), space, varied=["width"])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: varied must not have 'width': with other values, the weights have other shapes.
    """
    rng = random.Random(0)
    genomes = [[0.5] * len(space), *(space.sample(rng) for _ in range(_GENOMES - 1))]
    network_of = _network_of(task, space)
    kept: set[str] = set()
    for name in space:
        tried = (map(network_of, with_each_value) for with_each_value in _tried_genomes(space, name, genomes))
        if name in varied:
            if _reshapes(tried):
                raise InputError(f"varied must not have {name!r}: with other values, the weights have other shapes.")
        elif (_reshapes if "drop" in name else _stays)(tried):
            kept |= {name, *_deciders(space, name)}
    return tuple(i for i, name in enumerate(space) if name in kept)


@dataclass(frozen=True)
class _Network:
    """A network as it was built.

    Attributes:
        arguments: The arguments of the model, as a text.
        shapes: The shapes of its tensors by name; None if it cannot be built.
        structure: All that decides what it does besides weights and dropout rates; None if it cannot be built.
        rates: Its dropout rates.
    """

    arguments: str
    shapes: Hashable = None
    structure: Hashable = None
    rates: Hashable = None


def _stays(tried: Iterable[Iterable[_Network]]) -> bool:
    """Tell whether a hyperparameter changes arguments of the model, and not only dropout rates.

    Args:
        tried: At each of some places, the networks with its different values.
    """
    changes = only_rates = False
    for networks in tried:
        first: _Network | None = None
        arguments = set()
        for network in networks:
            arguments.add(network.arguments)
            if network.structure is None:
                continue
            first = first or network
            if network.structure != first.structure:
                return True
            only_rates |= network.rates != first.rates
        changes |= len(arguments) > 1
    return changes and not only_rates


def _reshapes(tried: Iterable[Iterable[_Network]]) -> bool:
    """Tell whether a hyperparameter changes the shapes of weights; see `_stays`."""
    shapes = ({network.shapes for network in networks if network.shapes is not None} for networks in tried)
    return any(len(different) > 1 for different in shapes)


def _tried_genomes(space: Space, name: str, genomes: Sequence[Sequence[float]]) -> Iterator[list[list[float]]]:
    """Give each genome with all values of a hyperparameter that are tried; others are such that it is in use."""
    one = space[name]
    genes = [one.encode(choice) for choice in one.choices] if isinstance(one, Categorical) else [0.0, 1.0]
    for i, genome in enumerate(genomes):
        in_use = _with_in_use(space, name, genome, i)
        yield [_with_gene(space, in_use, name, gene) for gene in genes]


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


def _network_of(task: Task, space: Space) -> Callable[[Sequence[float]], _Network]:
    """Make the function that builds a genome's network, each once."""
    known: dict[str, _Network] = {}
    destinations = task.destinations

    def network_of(genome: Sequence[float]) -> _Network:
        architecture = destinations.split(space.decode(genome))["model"]
        key = repr(architecture)
        if key not in known:
            try:
                known[key] = _Network(key, *_described(keyed_model(partial(task.model, **architecture), seed=0)))
            except Exception:  # its training will report the error
                known[key] = _Network(key)
        return known[key]

    return network_of


def _described(model: nn.Module) -> tuple[Hashable, Hashable, Hashable]:
    """Give the shapes of a network's tensors, its structure, and its dropout rates."""
    tokens = Tokens(model)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in network_tensors(model).items())
    structure: list[Hashable] = [shapes]
    rates = []
    for path, module in model.named_modules():
        if not _only_drops(module):
            structure.append((path, tokens.of(type(module))))
        for name, value in own_attributes(module):
            if _is_rate(name, value):
                rates.append((path, name, value))
            elif not _only_drops(module):
                structure.append((path, name, tokens.of(value) or repr(type(value))))
    return shapes, tuple(structure), tuple(rates)


def _is_rate(name: str, value: Any) -> bool:
    return (name == "p" or "drop" in name) and (value is None or (is_number(value) and 0 <= value <= 1))


def _only_drops(module: nn.Module) -> bool:
    """Tell whether a module is a dropout layer, or what networks often have in its place at a rate of 0."""
    return type(module) is nn.Identity or "drop" in type(module).__name__.lower()
