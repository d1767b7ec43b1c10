"""Reinforcement learning in its plainest form: REINFORCE on a policy that draws one genome per episode."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deap_hpo.checks import check_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.strategies.outcomes import costs

Array = NDArray[np.float64]


class ReinforceStrategy:
    """A stochastic policy over genomes, trained by REINFORCE with a baseline.

    Drawing a genome is an episode of one step, because the configurations of a search do not follow from each other.
    The policy has an independent unit per gene: for a `Float` or `Int`, a Gaussian with learnt mean and standard
    deviation (Williams, section 6; genes drawn outside [0, 1] are set to the bound), and for a `Categorical`, a softmax
    over its choices. After each batch, with e for the episodes and r for their rewards,

        gradient = mean over e of (r_e - baseline) d ln policy(genome_e)

    A reward is the share of recent outcomes that are worse, with ties counted by half. So it does not depend on the
    scale of the loss, and handles infinite losses. Its mean over the recent outcomes is 1/2, which is the baseline.

    Args:
        space: The search space.
        batch_size: Episodes per batch and step of learning, at least 1.
        seed: Seed of all draws, at least 0.
        learning_rate: Learning rate of Adam, greater than 0: about the size of its steps in mean and logarithmic
            deviation. Of 0.02, 0.05 and 0.1 on spheres and Rosenbrock (2 to 6 genes, 60 and 300 evaluations, 6 seeds),
            none was always the best, and 0.05 was seldom far from it.
        memory: Number of recent outcomes that a reward compares with, at least 2; 20 and 50 did equally well.
        sigma: Initial standard deviation of the Gaussian units, around the middle; greater than 0, at most 1. With
            0.25, the bounds are two standard deviations away.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
        Learning 8, 1992; on architectures of networks, Zoph and Le, "Neural architecture search with reinforcement
        learning", ICLR 2017.

    Example:
        >>> from deap import algorithms, base
        >>> from deap_hpo import Float, Individual
        >>> strategy = ReinforceStrategy(Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}), batch_size=4, seed=1)
        >>> toolbox = base.Toolbox()
        >>> toolbox.register("generate", strategy.generate, Individual)
        >>> toolbox.register("evaluate", lambda genome: (sum((gene - 0.7) ** 2 for gene in genome),))
        >>> toolbox.register("update", strategy.update)
        >>> population, _ = algorithms.eaGenerateUpdate(toolbox, ngen=50, verbose=False)
        >>> min(individual.fitness.values for individual in population)[0] < 0.01
        True
    """

    def __init__(
        self,
        space: Space,
        *,
        batch_size: int = 1,
        seed: int = 0,
        learning_rate: float = 0.05,
        memory: int = 20,
        sigma: float = 0.25,
    ) -> None:
        if not (is_number(learning_rate) and 0 < learning_rate < math.inf):
            raise InputError(f"learning_rate must be greater than 0 and finite; got {learning_rate!r}.")
        if not (is_number(sigma) and 0 < sigma <= 1):
            raise InputError(f"sigma must be greater than 0 and at most 1; got {sigma!r}.")
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._recent: deque[float] = deque(maxlen=check_integer("memory", memory, 2))
        self._units = [
            _ChoiceUnit(len(hyperparameter.choices)) if isinstance(hyperparameter, Categorical) else _NumberUnit(sigma)
            for hyperparameter in space.values()
        ]
        self._optimizer = torch.optim.Adam([unit.parameters for unit in self._units], lr=learning_rate)
        self._actions: Array = np.empty((0, len(space)))
        self._asked: list[list[float]] = []

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals, drawn from the policy."""
        episodes = range(self.batch_size)
        self._actions = np.array([[unit.draw(self._rng) for unit in self._units] for _ in episodes])
        self._asked = [
            [unit.gene(action) for unit, action in zip(self._units, row, strict=True)] for row in self._actions
        ]
        return [ind_init(list(genome)) for genome in self._asked]

    def update(self, population: Sequence[Any]) -> None:
        """Make genomes that did better than usual more likely, and those that did worse less likely."""
        outcomes = np.array(costs(self._asked, population))
        self._recent.extend(outcomes)
        recent = np.array(self._recent)
        reward = [(np.sum(recent > cost) + np.sum(recent >= cost)) / (2 * len(recent)) for cost in outcomes]
        # The advantages need no scaling: Adam is indifferent to the scale of its gradients.
        advantage = torch.tensor(reward, dtype=torch.float64) - 0.5
        actions = torch.from_numpy(self._actions)
        log_policy = torch.stack([unit.log_density(actions[:, i]) for i, unit in enumerate(self._units)]).sum(0)
        self._optimizer.zero_grad()
        torch.autograd.backward(-(advantage * log_policy).mean())
        self._optimizer.step()
        for unit in self._units:
            unit.keep_sane()


class _NumberUnit:
    """Draws a number from a Gaussian; parameters are its mean and the logarithm of its standard deviation."""

    def __init__(self, sigma: float) -> None:
        self.parameters = torch.tensor([0.5, math.log(sigma)], dtype=torch.float64, requires_grad=True)

    def draw(self, rng: np.random.Generator) -> float:
        mean, log_sigma = self.parameters.tolist()
        return float(rng.normal(mean, math.exp(log_sigma)))

    def gene(self, action: float) -> float:
        return min(max(float(action), 0.0), 1.0)

    def log_density(self, actions: torch.Tensor) -> torch.Tensor:
        mean, log_sigma = self.parameters
        deviation = (actions - mean) / torch.exp(log_sigma)
        log_density: torch.Tensor = -(deviation**2) / 2 - log_sigma  # up to a constant
        return log_density

    def keep_sane(self) -> None:
        with torch.no_grad():
            # A mean beyond a bound would draw little but the bound; no hyperparameter needs steps below 1/1000.
            self.parameters[0].clamp_(0.0, 1.0)
            self.parameters[1].clamp_(math.log(1e-3), 0.0)


class _ChoiceUnit:
    """Draws the index of a choice from a softmax; parameters are its logits."""

    def __init__(self, count: int) -> None:
        self.parameters = torch.zeros(count, dtype=torch.float64, requires_grad=True)

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.parameters), p=torch.softmax(self.parameters.detach(), 0).numpy()))

    def gene(self, action: float) -> float:
        return (float(action) + 0.5) / len(self.parameters)  # the centre of the choice's bin

    def log_density(self, actions: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.parameters, 0)[actions.long()]

    def keep_sane(self) -> None:
        """Leave the logits as they are."""
