"""The genes of a space seen as columns of a matrix: canonical genomes, designs, and the inputs of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.search_space.space import Categorical, Int, Space

Array = NDArray[np.float64]

_DESIGNS = 100  # of which the best is taken


class GeneColumns:
    """A space for strategies that work on matrices [n, genes]: one row for each genome, one column for each gene.

    Attributes:
        bins: Number of values of each gene, as floats [genes]; infinite for a `Float` without a step.
        categorical: Whether each gene is an unordered choice among more than two, [genes]. Two choices are treated as
            numbers, since their order does not matter.
        groups: For each column of `features`, the gene that it stands for.
        size: Number of configurations in the space; infinite if one of the bins is.

    Example:
        >>> columns = GeneColumns(Space({"width": Int(1, 4), "act": Categorical(["relu", "tanh", "gelu"])}))
        >>> columns.size, columns.snap(np.array([[0.3, 0.9]])).round(3).tolist()
        (12.0, [[0.375, 0.833]])
        >>> columns.features(np.array([[0.375, 0.5]])).round(3).tolist()
        [[0.375, 0.0, 0.707, 0.0]]
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._hyperparameters = list(space.values())
        self.bins: Array = np.array([float(hyperparameter.size) for hyperparameter in self._hyperparameters])
        self.categorical: NDArray[np.bool_] = np.array(
            [isinstance(hyperparameter, Categorical) for hyperparameter in self._hyperparameters]
        ) & (self.bins > 2)
        self.size = _Count(space, dict(zip(space, self.bins, strict=True))).of_all()
        widths = np.where(self.categorical, self.bins, 1).astype(int)
        self.groups = np.repeat(np.arange(len(widths)), widths).tolist()

    def snap(self, genomes: Array) -> Array:
        """Return canonical genomes, as `Space.snap` does one by one (it may differ at the very edge of a bin)."""
        genomes = np.clip(genomes, 0.0, 1.0)
        for column, hyperparameter in enumerate(self._hyperparameters):
            if isinstance(hyperparameter, Int) and hyperparameter.log:
                low, high = hyperparameter.low, hyperparameter.high
                start, end = math.log(low - 0.5), math.log(high + 0.5)
                value = np.floor(np.exp(start + genomes[:, column] * (end - start)) + 0.5).clip(low, high)
                genomes[:, column] = (np.log((value - 0.5) * (value + 0.5)) / 2 - start) / (end - start)
            elif np.isfinite(self.bins[column]):
                bins = self.bins[column]
                genomes[:, column] = (np.minimum(np.floor(genomes[:, column] * bins), bins - 1) + 0.5) / bins
        return np.where(self._in_use(genomes), genomes, 0.5)

    def _in_use(self, genomes: Array) -> NDArray[np.bool_]:
        """Whether each gene of canonical genomes has an effect, [n, genes]."""
        used = np.ones(genomes.shape, dtype=bool)
        order = list(self._space)
        for name, parents in self._space.conditions.allowed.items():
            for parent, choices in parents.items():
                column = order.index(parent)
                centres = [self._space[parent].encode(choice) for choice in choices]  # type: ignore[arg-type]
                near = np.abs(genomes[:, column, None] - centres) < 0.5 / self.bins[column]
                used[:, order.index(name)] &= used[:, column] & near.any(axis=1)
        return used

    def every_genome(self) -> Array:
        """All configurations of a finite space as canonical genomes [size, genes]."""
        genomes = np.full((1, len(self.bins)), 0.5)
        for column, (hyperparameter, bins) in enumerate(zip(self._hyperparameters, self.bins, strict=True)):
            genes = [hyperparameter.encode(value) for value in hyperparameter.grid(int(bins))]  # type: ignore[arg-type]
            used = self._in_use(genomes)[:, column]  # The genes that decide this are in earlier columns.
            grown = np.repeat(genomes[used], len(genes), axis=0)
            grown[:, column] = np.tile(genes, used.sum())
            genomes = np.vstack([genomes[~used], grown])
        return np.unique(self.snap(genomes), axis=0)

    def features(self, genomes: Array) -> Array:
        """Inputs of a kernel: genes as they are, categories one-hot encoded, at distance 1 from each other."""
        columns = []
        for column, categorical in enumerate(self.categorical):
            genes = genomes[:, column, None]
            if categorical:
                choice = np.minimum(np.floor(genes * self.bins[column]), self.bins[column] - 1)
                genes = (choice == np.arange(self.bins[column])) * math.sqrt(0.5)
            columns.append(genes)
        return np.hstack(columns)


def is_exhausted(space: Space, genomes: Iterable[Sequence[float]]) -> bool:
    """Tell whether genomes cover every configuration of a finite space.

    Example:
        >>> from deap_hpo import Int
        >>> is_exhausted(Space({"n": Int(1, 2)}), [[0.1], [0.2]]), is_exhausted(Space({"n": Int(1, 2)}), [[0.1], [0.7]])
        (False, True)
    """
    return GeneColumns(space).size == len({tuple(space.decode(genome).items()) for genome in genomes})


_Waiting = Mapping[str, Mapping[str, Sequence[Any]]]
"""For each hyperparameter whose use is not decided yet: the parents that decide, and the values that they need."""


class _Count:
    """Counts the configurations of a space, some of whose hyperparameters depend on others.

    One after the other, those that depend on none are given each of their values, until nothing depends on anything.
    Independent groups are counted separately, and none twice. Otherwise, twenty choices that each decide on one number
    would be a million cases.
    """

    def __init__(self, space: Space, bins: Mapping[str, float]) -> None:
        self._space = space
        self._bins = bins
        self._kinds = {name: _alike(space, name, int(bins[name])) for name in space.conditions.deciding}
        self._counted: dict[tuple[Any, ...], float] = {}

    def of_all(self) -> float:
        """Count all configurations; infinite if the space is continuous."""
        return self._of(list(self._space), self._space.conditions.allowed)

    def _of(self, names: Sequence[str], waiting: _Waiting) -> float:
        """Count those of some hyperparameters, given in the order of the space."""
        if any(math.isinf(self._bins[name]) for name in names if name not in waiting):
            return math.inf
        return float(math.prod(self._of_connected(group, waiting) for group in _connected(names, waiting)))

    def _of_connected(self, group: Sequence[str], waiting: _Waiting) -> float:
        """Count those of hyperparameters that depend on each other, of which the first depends on none."""
        first, *others = group
        if not others:
            return self._bins[first]
        case = tuple((name, tuple(waiting.get(name, ()))) for name in group)
        if case not in self._counted:
            self._counted[case] = sum(
                alike * self._of(*_left(others, waiting, first, value)) for value, alike in self._kinds[first].items()
            )
        return self._counted[case]


def _left(names: Sequence[str], waiting: _Waiting, parent: str, value: Any) -> tuple[list[str], _Waiting]:
    """Give the hyperparameters that may still be in use if the parent has a value, and what these wait for then."""
    left: list[str] = []
    still: dict[str, Mapping[str, Sequence[Any]]] = {}
    for name in names:
        needed = waiting.get(name, {})
        rest = {other: choices for other, choices in needed.items() if other != parent}
        if value not in needed.get(parent, [value]) or not all(other in left for other in rest):
            continue  # Not in use, and so neither are those that depend on it.
        left.append(name)
        if rest:
            still[name] = rest
    return left, still


def _connected(names: Sequence[str], waiting: _Waiting) -> list[list[str]]:
    """Group the hyperparameters that depend on each other, in the given order."""
    groups: list[list[str]] = []
    for name in names:
        parents = set(waiting.get(name, ()))
        joined = [group for group in groups if not parents.isdisjoint(group)]
        groups = [group for group in groups if parents.isdisjoint(group)]
        groups.append([*sorted((one for group in joined for one in group), key=names.index), name])
    return groups


def _alike(space: Space, name: str, size: int) -> dict[Any, int]:
    """Group the values that decide the same; return one value of each group, with the size of the group."""
    kinds: dict[tuple[bool, ...], list[Any]] = {}
    for value in space[name].grid(size):
        decided = [value in parents[name] for parents in space.conditions.allowed.values() if name in parents]
        kinds.setdefault(tuple(decided), []).append(value)
    return {values[0]: len(values) for values in kinds.values()}


def maximin_latin_hypercube(rng: np.random.Generator, count: int, genes: int) -> list[list[float]]:
    """Return, from 100 random Latin hypercubes, the one whose closest two points are farthest apart.

    Source:
        McKay, Beckman & Conover 1979, "A comparison of three methods for selecting values of input variables in the
        analysis of output from a computer code"; Morris & Mitchell 1995, "Exploratory designs for computational
        experiments".
    """
    from scipy.spatial.distance import pdist  # here, since commands that make no design import this module too

    designs: list[Array] = []
    for _ in range(_DESIGNS):
        strata = rng.permuted(np.tile(np.arange(count), (genes, 1)), axis=1).T
        designs.append((strata + rng.random((count, genes))) / count)
    return [list(point) for point in max(designs, key=lambda design: pdist(design).min())]
