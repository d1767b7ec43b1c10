"""Networks whose layers are computed again in the backward pass (`torch.utils.checkpoint`) train as others do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deap_hpo import Task, make_trainer
from deap_hpo.errors import DeapHPOWarning
from deap_hpo.training.keyed import keyed_generators, member_keys
from deap_hpo.training.keyed_dropout import KeyedDropout
from deap_hpo.training.one_epoch import backward
from deap_hpo.training.plain_layers import PlainLayers

INPUTS = torch.randn(40, 6, 8, generator=torch.Generator().manual_seed(0))
TARGETS = (INPUTS.sum((1, 2)) > 0).long()


class Noisy(nn.Module):
    """Draws from torch's generator, before and after dropout."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = F.dropout(x + 0.1 * torch.randn_like(x), 0.2, self.training) * torch.rand(())
        return x


BLOCKS: dict[str, Any] = {
    "linear": lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 8), nn.ReLU(), nn.Dropout1d(0.2)),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True),
    "noise": Noisy,
}


class Net(nn.Module):
    """Three blocks and a head; the blocks are computed again, or not, or those inside another one are, too."""

    def __init__(self, block: str, again: str = "", **options: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BLOCKS[block]() for _ in range(3))
        self.head = nn.Linear(8, 2)
        self.again, self.options = again, {"use_reentrant": again == "reentrant", **options}

    def forward(self, x: Tensor) -> Tensor:
        if self.again == "reentrant":
            x = x.clone().requires_grad_()
        if self.again == "nested" and self.training:
            x = checkpoint(lambda y: checkpoint(self.blocks[1], self.blocks[0](y), **self.options), x, **self.options)
            return self.head(self.blocks[2](x).mean(1))
        for block in self.blocks:
            x = checkpoint(block, x, **self.options) if self.again and self.training else block(x)
        return self.head(x.mean(1))


def losses(block: str, trainer: str = "reference", **architecture: Any) -> list[float]:
    task = Task.from_data(lambda **own: Net(block, **own, **architecture), (INPUTS, TARGETS), normalize=False)
    evaluate = make_trainer(task, epochs=3, device="cpu", precision="fp32", trainer=trainer)
    return [one.training_loss for one in evaluate({"lr": 0.3, "batch_size": 8}, seed=1).curve]


@pytest.mark.parametrize("again", ["once", "nested", "reentrant"])
@pytest.mark.parametrize("block", ["linear", "attention"])
def test_layers_that_are_computed_again_drop_what_they_dropped_before(block: str, again: str) -> None:
    assert losses(block, again=again) == pytest.approx(losses(block), rel=1e-5)


def test_gradients_are_those_of_the_networks_own_noise_too() -> None:
    """Dropout advances torch's generator there, so that the noise itself is another one than without."""
    assert losses("noise", again="once") == losses("noise", again="once")
    weight = torch.ones(200, requires_grad=True)
    dropout, block = KeyedDropout(member_keys([3])[0], repeatable=True), Noisy().train()
    with keyed_generators(1):
        with PlainLayers(dropout):
            output = checkpoint(lambda w: block(w).square(), weight, use_reentrant=False)
        backward(output.sum(), dropout)
    # Of (w + n)^2 s^2 the derivative is 2 (w + n) s^2, and s^2 is not known, but its mask and (w + n) s is the root.
    assert weight.grad is not None
    kept = output.detach() > 0
    assert torch.equal(kept, weight.grad != 0)
    ratio = (weight.grad[kept] ** 2 / output.detach()[kept] / 4).sqrt()
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-4), "s is the same for all that was kept"


def test_a_stack_leaves_them_to_the_reference() -> None:
    with pytest.warns(DeapHPOWarning, match="trained one at a time"):
        assert losses("linear", "population", again="once") == losses("linear", again="once")


def test_without_the_generators_state_it_is_an_error_rather_than_another_mask() -> None:
    task = Task.from_data(lambda: Net("linear", "once", preserve_rng_state=False), (INPUTS, TARGETS), normalize=False)
    with pytest.raises(Exception, match="repeats dropout only with preserve_rng_state=True"):
        make_trainer(task, device="cpu", precision="fp32")({"lr": 0.1}, seed=1)
