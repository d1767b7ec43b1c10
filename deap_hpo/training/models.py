"""Model factories: callables that build a fresh `nn.Module` from architecture hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo.training.data import Data
from deap_hpo.training.inputs import tensors


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


class ResNet(nn.Module):
    """A small residual network for images: a stem, three stages of basic blocks with 1, 2 and 4 times `width` channels.

    With width 16 and depth 3 it is ResNet-20, except that the shortcuts between stages are 1x1 convolutions.

    Args:
        channels: Channels of an image: 1 for grey, 3 for colour.
        classes: Number of classes.
        width: Channels of the first stage, at least 1.
        depth: Blocks in each stage, at least 1.
        dropout: Dropout rate before the last layer, in [0, 1).

    Shapes: input [N, channels, H, W] with H and W at least 4; output [N, classes] log-probabilities.

    Source: He et al., "Deep residual learning for image recognition" (CVPR 2016), section 4.2.

    Example:
        >>> import torch
        >>> ResNet(channels=3, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, channels: int = 3, classes: int = 10, width: int = 16, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        blocks: list[nn.Module] = []
        features = width
        for stage in range(3):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_Block(features, width * 2**stage, stride))
                features = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, channels, H, W] to log-probabilities [N, classes]."""
        x = self.blocks(F.relu(self.stem(images))).mean((2, 3))
        return F.log_softmax(self.head(self.dropout(x)), dim=1)


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "paper-cnn": PaperCNN, "resnet": ResNet}


def shape_arguments(model: Callable[..., nn.Module], data: Data) -> dict[str, int]:
    """Give the arguments of a model that follow from the data: `inputs` (features), `channels`, `classes`.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> shape_arguments(MLP, load_digits()), shape_arguments(PaperCNN, load_digits())
        ({'inputs': 64, 'classes': 10}, {})
    """
    (example,) = tensors(data.training[:1].inputs)[0]
    known = {
        "inputs": example.numel(),
        "channels": len(example),
        "classes": int(tensors(data.training.targets)[0].max()) + 1,
    }
    return {name: value for name, value in known.items() if name in inspect.signature(model).parameters}
