"""Functional analysis of variance of a forest: the share of its predictions' variance that each gene alone explains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

_Floats = NDArray[np.float64]

_DEEPEST = 64


def main_effects(genes: _Floats, values: _Floats, *, trees: int, seed: int) -> _Floats:
    """Fit a forest, and measure how much of the variance of its predictions is the main effect of each gene.

    These are the numbers of Optuna's `FanovaImportanceEvaluator`, which takes ten times as long: it descends each tree
    again for every interval of a gene.

    Args:
        genes: An array [evaluations, genes], each in [0, 1].
        values: The objective, an array [evaluations].
        trees: Number of trees.
        seed: Seed of the forest.

    Returns:
        A share for each gene, the mean over the trees. All are 0 if no tree has a split.

    Source: Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter importance" (ICML 2014).

    Example:
        >>> genes = np.random.default_rng(0).random((100, 2))
        >>> first, second = main_effects(genes, genes[:, 0], trees=8, seed=0)
        >>> bool(first > 0.95), bool(second < 0.01)
        (True, True)
    """
    forest = RandomForestRegressor(trees, max_depth=_DEEPEST, random_state=seed).fit(genes, values)
    shares = [shares for one in forest.estimators_ if (shares := _shares(_Tree(one.tree_))) is not None]
    if not shares:
        return np.zeros(genes.shape[1])
    means: _Floats = np.ascontiguousarray(np.transpose(shares)).mean(axis=1)  # along rows, sums are the most exact
    return means


class _Tree:
    """A tree over the unit cube: for each node, its part of the cube, and the mean and the volume there."""

    def __init__(self, tree: Any) -> None:
        self.feature: list[int] = tree.feature.tolist()
        self.threshold: list[float] = tree.threshold.tolist()
        self.left: list[int] = tree.children_left.tolist()
        self.right: list[int] = tree.children_right.tolist()
        self.genes = int(tree.n_features)
        low, high = ([[bound] * self.genes] * len(self.feature) for bound in (0.0, 1.0))
        for node in self.splits():  # a node comes before its children
            gene, left, right = self.feature[node], self.left[node], self.right[node]
            low[left], high[right] = low[node], high[node]
            high[left], low[right] = high[node].copy(), low[node].copy()
            high[left][gene] = low[right][gene] = self.threshold[node]
        self.low, self.high = np.array(low), np.array(high)
        self.leaves = [node for node, gene in enumerate(self.feature) if gene < 0]
        self.mean, self.volume = self._statistics(tree.value.reshape(-1).tolist())
        self.below = self._split_below()

    def splits(self) -> list[int]:
        """Return the nodes that have children."""
        return [node for node, gene in enumerate(self.feature) if gene >= 0]

    def _statistics(self, mean: list[float]) -> tuple[_Floats, _Floats]:
        volume = np.prod(self.high - self.low, axis=1).tolist()
        for node in reversed(self.splits()):
            left, right = self.left[node], self.right[node]
            volume[node] = volume[left] + volume[right]
            mean[node] = (mean[left] * volume[left] + mean[right] * volume[right]) / volume[node]
        return np.array(mean), np.array(volume)

    def _split_below(self) -> list[set[int]]:
        """Give the genes on which each node or one below it splits."""
        below: list[set[int]] = [set() for _ in self.feature]
        for node in reversed(self.splits()):
            below[node] = {self.feature[node], *below[self.left[node]], *below[self.right[node]]}
        return below

    def parts(self, gene: int) -> list[int]:
        """Return the topmost nodes below which no node splits on a gene, from right to left."""
        found, waiting = [], [0]
        while waiting:
            node = waiting.pop()
            if gene in self.below[node]:
                waiting += (self.left[node], self.right[node])
            else:
                found.append(node)
        return found


def _shares(tree: _Tree) -> list[float] | None:
    """Return each gene's share of the variance of a tree, or None if it predicts the same everywhere."""
    whole = _variance(tree.mean[tree.leaves], tree.volume[tree.leaves])
    return [_marginal_variance(tree, gene) / whole for gene in range(tree.genes)] if whole > 0 else None


def _marginal_variance(tree: _Tree, gene: int) -> float:
    """Return the variance of the mean prediction at a gene, over the intervals in which it is constant."""
    parts = tree.parts(gene)
    if len(parts) == 1:  # the root: the tree does not split on this gene
        return 0.0
    low, high = tree.low[parts, gene], tree.high[parts, gene]
    mean, volume = tree.mean[parts], tree.volume[parts] / (high - low)
    weighted = mean * volume
    edges = np.array(sorted({*low.tolist(), *high.tolist()}))
    middles, sizes = 0.5 * (edges[1:] + edges[:-1]), edges[1:] - edges[:-1]
    inside = (low < middles[:, None]) & (middles[:, None] <= high)
    means, weights = np.empty_like(sizes), np.empty_like(sizes)
    for i, there in enumerate(inside):
        total = volume[there].sum()
        means[i], weights[i] = weighted[there].sum() / total, total * sizes[i]
    return _variance(means, weights)


def _variance(values: _Floats, weights: _Floats) -> float:
    return float(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))
