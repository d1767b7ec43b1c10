"""Find which networks train faster in a stack: OMP_NUM_THREADS=1 python benchmarks/architectures.py --rounds 5.

Networks of several kinds, in the sizes of first experiments, are trained for an epoch on made-up data: one at a time
(`ReferenceTrainer`) and as one program (`PopulationTrainer`), by turns, in fp32. Prints the ratio of the two times,
with the median of the rounds and their range; more than 1 is a gain. Only times are measured, so the data are random.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo import Recipe, Task
from deap_hpo.evaluation import Request
from deap_hpo.training.hardware import device_name, resolve_device
from deap_hpo.training.models import MLP, PaperCNN, ResNet
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer

EXAMPLES, LENGTH, WORDS = 1024, 32, 50


class Words(nn.Module):
    """A classifier of texts: word vectors, a layer over the sequence, and the mean of its outputs."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.embedding, self.layer, self.head = nn.Embedding(WORDS, width), layer, nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, length] to logits."""
        output = self.layer(self.embedding(tokens))
        return self.head((output[0] if isinstance(output, tuple) else output).mean(1))  # type: ignore[no-any-return]


def encoder(dropout: float) -> nn.Module:
    """Make two layers of a transformer."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=dropout, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decayed_apart(network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Make an AdamW with two groups: vectors, such as biases, have no weight decay."""
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], lr=lr)


IMAGES = torch.randint(0, 256, (EXAMPLES, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
TOKENS = torch.randint(0, WORDS, (EXAMPLES, LENGTH), generator=torch.Generator().manual_seed(0))
OPTIMIZERS = {"AdamW in two groups": decayed_apart, "NAdam": torch.optim.NAdam}  # by the end of a row's name
KINDS: dict[str, tuple[Any, Tensor]] = {
    "MLP, one hidden layer of 32": (lambda: MLP(width=32), IMAGES),
    "the same by AdamW in two groups": (lambda: MLP(width=32), IMAGES),
    "the same by NAdam": (lambda: MLP(width=32), IMAGES),
    "the paper's CNN": (PaperCNN, IMAGES),
    "residual CNN of 8 channels, batch norm": (lambda: ResNet(channels=1, classes=2, width=8), IMAGES),
    "LSTM of 32": (lambda: Words(nn.LSTM(32, 32, batch_first=True), 32), TOKENS),
    "GRU, two layers of 32, dropout": (lambda: Words(nn.GRU(32, 32, 2, dropout=0.1, batch_first=True), 32), TOKENS),
    "transformer of 32, two layers": (lambda: Words(encoder(0.0), 32), TOKENS),
    "transformer of 32, two layers, dropout": (lambda: Words(encoder(0.1), 32), TOKENS),
}


def seconds(trainer: Any, members: int) -> float:
    """Train the given number of members, and return the seconds."""
    start = perf_counter()
    requests = [Request(i, {"lr": 1e-3 * (i + 1)}, seed=i) for i in range(members)]
    if isinstance(trainer, PopulationTrainer):
        done = [evaluation for _, evaluation in trainer.evaluate_batch(requests)]
    else:
        done = [trainer.evaluate(request) for request in requests]
    stacks = {evaluation.environment.get("stack") for evaluation in done}
    assert stacks == ({members} if isinstance(trainer, PopulationTrainer) else {None}), stacks
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", default="", help="only networks with this in their name")
    settings = parser.parse_args()
    device = resolve_device(settings.device)
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32, torch {torch.__version__}")
    print(f"{settings.members} members, batches of {settings.batch_size}, {settings.rounds} rounds after a first one\n")
    print("| network | alone / stack | range |\n|---|---:|---:|")
    for name, (model, inputs) in KINDS.items():
        if settings.rows not in name:
            continue
        targets = torch.arange(EXAMPLES) % 2
        data = Task.from_data(model, (inputs, targets), validation=64).data
        own = next((made for end, made in OPTIMIZERS.items() if name.endswith(end)), None)
        recipe = Recipe(optimizer="sgd" if own else "adam", batch_size=settings.batch_size)
        task = Task("timed", model, data, loss=F.cross_entropy, recipe=recipe, optimizer=own)
        trainers = [kind(task, device=device, precision="fp32") for kind in (ReferenceTrainer, PopulationTrainer)]
        times = [[seconds(one, settings.members) for one in trainers] for _ in range(settings.rounds + 1)][1:]
        ratios = [alone / stack for alone, stack in times]
        print(f"| {name} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
