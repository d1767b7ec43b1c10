"""Tune optimiser, schedule and architecture of a network together, on Fashion-MNIST.

Some hyperparameters are used only with a certain choice of another one: momentum with SGD, gamma with a step schedule.
"""

from __future__ import annotations

import argparse

from deap import algorithms, base
from torch import Tensor, nn

from deap_hpo import Categorical, Float, Individual, Int, ProcessExecutor, Space, Study, Task, make_trainer
from deap_hpo.strategies import make_strategy
from deap_hpo.training.data import load_fashion_mnist

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}

space = Space(
    {
        "optimizer": Categorical(["sgd", "adamw"]),
        "lr": Float(1e-4, 0.3, log=True),
        "momentum": Float(0.0, 0.95),
        "weight_decay": Float(1e-6, 1e-2, log=True),
        "schedule": Categorical(["step", "cosine"]),
        "gamma": Float(0.3, 1.0),
        "depth": Int(1, 3),
        "width": Int(8, 32, log=True),
        "dropout": Float(0.0, 0.5),
        "activation": Categorical(["relu", "gelu", "silu"]),
    },
    when={"momentum": {"optimizer": "sgd"}, "gamma": {"schedule": "step"}},
)


class ConvNet(nn.Module):
    """`depth` blocks of convolution and pooling; the first has `width` channels, each next one twice as many."""

    def __init__(self, depth: int = 2, width: int = 16, dropout: float = 0.1, activation: str = "relu") -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 1
        for i in range(depth):
            wider = width * 2**i
            blocks += [nn.Conv2d(channels, wider, 3, padding=1), ACTIVATIONS[activation](), nn.MaxPool2d(2)]
            channels = wider
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(channels * (28 // 2**depth) ** 2, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 28, 28] to logits [N, 10]."""
        logits: Tensor = self.classify(self.dropout(self.blocks(images).flatten(1)))
        return logits


def main() -> None:
    """Train `--evaluations` networks, in batches picked by the strategy `surrogate`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--storage", default="runs/architecture.db")
    arguments = parser.parse_args()
    data = load_fashion_mnist(training_size=arguments.images, validation_size=arguments.images // 4)

    with Study(
        space, name="architecture", storage=arguments.storage, seed=1, resume=True, executor=ProcessExecutor()
    ) as study:
        strategy = make_strategy("surrogate", space, batch_size=4, seed=1)
        toolbox = base.Toolbox()
        toolbox.register("generate", strategy.generate, Individual)
        toolbox.register("update", strategy.update)
        toolbox.register("evaluate", make_trainer(Task("fashion-mnist", ConvNet, data), epochs=2))
        toolbox.register("map", study.map)
        algorithms.eaGenerateUpdate(toolbox, ngen=arguments.evaluations // 4, stats=study.statistics())

    print(f"validation loss {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
