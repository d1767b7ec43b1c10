"""Population-based training of your own loop: mixup, whose strength changes while the network trains.

No `Task` is needed: any function that can save its state and continue from it can be trained in parts.
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from deap_hpo import Float, ProcessExecutor, optimize
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.records.entries import training_path
from deap_hpo.functions.reporter import Reporter

images, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = images.float() / 16
training, validation = slice(0, 1200), slice(1200, None)


def mixup(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Mix each example with another one, and their labels as well (Zhang et al., arXiv:1710.09412)."""
    share = torch.distributions.Beta(strength, strength).sample()
    others = torch.randperm(len(inputs))
    targets = nn.functional.one_hot(targets, 10).float()
    return torch.lerp(inputs[others], inputs, share), torch.lerp(targets[others], targets, share)


def train(params: dict[str, Any], epochs: int, checkpoint: Checkpoint, report: Reporter) -> float:
    """Train up to `epochs` epochs in all, from the beginning or from the state that an earlier evaluation saved."""
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
    if state := checkpoint.load():
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    optimizer.param_groups[0]["lr"] = params["lr"]  # the state has the other evaluation's rate

    loss = torch.inf
    for epoch in range(checkpoint.epoch + 1, epochs + 1):
        network.train()
        for batch in torch.split(torch.randperm(1200), 50):
            inputs, targets = mixup(images[training][batch], labels[training][batch], params["mixup"])
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(network(inputs), targets))
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = cross_entropy(network(images[validation]), labels[validation]).item()
        report(epoch, loss)
    checkpoint.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()})
    return loss


if __name__ == "__main__":
    study = optimize(
        train,
        {"lr": Float(1e-3, 1.0, log=True), "mixup": Float(0.01, 2.0, log=True)},
        algorithm="pbt",
        population=6,
        generations=8,  # one epoch each
        name="mixup",
        storage="runs/mixup.db",
        resume=True,  # stop it whenever you like; started again, it continues
        executor=ProcessExecutor(),
        seed=1,
    )
    for entry in training_path(study.entries, study.best.number):
        print(entry.epochs, study.params_of(entry), entry.evaluation.value)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)).eval()
    network.load_state_dict(study.best_state()["network"])
    right = (network(images[validation]).argmax(1) == labels[validation]).float().mean()
    print(f"loss {study.best_value:.3f}, accuracy {right:.3f} after {study.best.epochs} epochs")
