"""Model factories: callables that build a fresh `nn.Module` from architecture hyperparameters."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class PaperCNN(nn.Module):
    """The paper's network: two convolutional layers, then two fully connected ones, for 28x28 grey images.

    The shape is that of the published PyTorch MNIST example: conv 1->32 3x3, ReLU, conv 32->64 3x3, ReLU, max-pool 2,
    dropout 0.25, linear 9216->128, ReLU, dropout 0.5, linear 128->10, log-softmax. 1,199,882 parameters.

    Args:
        dropout: Dropout rate after the convolutions, in [0, 1).
        dropout_hidden: Dropout rate after the first linear layer, in [0, 1).

    Shapes: input [N, 1, 28, 28] float; output [N, 10] log-probabilities, for `F.nll_loss`.

    Example:
        >>> import torch
        >>> PaperCNN()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, dropout: float = 0.25, dropout_hidden: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout = nn.Dropout(dropout)
        self.linear1 = nn.Linear(9216, 128)
        self.dropout_hidden = nn.Dropout(dropout_hidden)
        self.linear2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 28, 28] to log-probabilities [N, 10]."""
        x = F.relu(self.conv1(images))
        x = F.relu(self.conv2(x))
        x = self.dropout(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout_hidden(F.relu(self.linear1(x)))
        return F.log_softmax(self.linear2(x), dim=1)


class MLP(nn.Module):
    """A multilayer perceptron on flattened inputs, with log-softmax output.

    Args:
        inputs: Number of input features (784 for 28x28 images, 64 for 8x8 digits).
        classes: Number of classes.
        width: Units in each hidden layer, at least 1.
        depth: Number of hidden layers, at least 0.
        dropout: Dropout rate after each hidden layer, in [0, 1).

    Shapes: input [N, ...] with `inputs` features each; output [N, classes] log-probabilities, for `F.nll_loss`.

    Example:
        >>> import torch
        >>> MLP(inputs=64, width=16)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, inputs: int = 784, classes: int = 10, width: int = 128, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        features = inputs
        for _ in range(depth):
            layers += [nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout)]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs [N, ...] to log-probabilities [N, classes]."""
        return F.log_softmax(self.layers(inputs), dim=1)


MODELS: dict[str, Callable[..., nn.Module]] = {"paper-cnn": PaperCNN, "mlp": MLP}
