"""Train as a user of a search library does: one trial at a time, with torch's and torchvision's defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from deap_hpo.training.data import Data, Split
from deap_hpo.training.models import PaperCNN


def optimize(
    data: Data, configurations: Sequence[Mapping[str, float]], epochs: int, device: torch.device, *, in_memory: bool
) -> list[float]:
    """Train every configuration by `optuna.Study.optimize`.

    Args:
        data: Fashion-MNIST.
        configurations: Values of lr, momentum and weight_decay of each trial.
        epochs: Epochs of each trial.
        device: Where to train.
        in_memory: Whether batches are slices of normalised tensors on the device, or come from a `DataLoader`.

    Returns:
        Validation losses of the trials.
    """
    import optuna  # imported here because all other rows work on machines without it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    training = _Batches(data, data.training, device, in_memory, shuffle=True)
    validation = _Batches(data, data.validation, device, in_memory, shuffle=False)

    def objective(trial: optuna.Trial) -> float:
        model = PaperCNN().to(device)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=trial.suggest_float("lr", 1e-4, 1.0, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.99),
            weight_decay=trial.suggest_float("weight_decay", 0.0, 0.1),
        )
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
        for _ in range(epochs):
            model.train()
            for images, targets in training:
                optimizer.zero_grad()
                F.nll_loss(model(images), targets).backward()
                optimizer.step()
            scheduler.step()
        return _validation_loss(model, validation)

    study = optuna.create_study()
    for configuration in configurations:
        study.enqueue_trial(dict(configuration))
    study.optimize(objective, n_trials=len(configurations))
    return [trial.value for trial in study.trials if trial.value is not None]


@torch.no_grad()
def _validation_loss(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    total = count = 0.0
    for images, targets in batches:
        total += F.nll_loss(model(images), targets, reduction="sum").item()
        count += len(targets)
    return total / count


class _Batches:
    """Batches of a split: from torchvision's data set class and a DataLoader, or from tensors in memory."""

    def __init__(self, data: Data, split: Split, device: torch.device, in_memory: bool, shuffle: bool) -> None:
        self.device, self.shuffle = device, shuffle
        self.size = 64 if shuffle else 1000
        self.tensors = Split(data.prepare(split.inputs), split.targets).to(device) if in_memory else None
        # Made without its __init__, which reads files, because the images are those of the split.
        dataset: Any = FashionMNIST.__new__(FashionMNIST)
        dataset.data, dataset.targets = split.inputs[:, 0].cpu(), split.targets.tolist()
        dataset.transform, dataset.target_transform = Compose([ToTensor(), Normalize(data.mean, data.std)]), None
        self.loader: DataLoader[Any] = DataLoader(dataset, batch_size=self.size, shuffle=shuffle)

    def __iter__(self) -> Any:
        if self.tensors is None:
            for images, targets in self.loader:
                yield images.to(self.device), targets.to(self.device)
        else:
            order = torch.randperm(len(self.tensors)) if self.shuffle else torch.arange(len(self.tensors))
            for batch in order.to(self.device).split(self.size):
                yield self.tensors.inputs[batch], self.tensors.targets[batch]
