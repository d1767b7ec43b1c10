"""Networks of several kinds, written as users write them, and small tasks to train them on."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from deap_hpo.training.data import Data, Split, load_digits
from deap_hpo.training.models import MLP, PaperCNN
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.task import Task


class NormalisedCNN(nn.Module):
    def __init__(self, channels=8, dropout=0.2):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Dropout2d(dropout),
        )
        self.classifier = nn.Linear(channels * 16, 10)

    def forward(self, x):
        return F.log_softmax(self.classifier(self.features(x).flatten(1)), dim=1)


class ViewingCNN(nn.Module):
    """Flattens with `view`, which takes no channels-last images."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.linear = nn.Linear(4 * 36, 10)

    def forward(self, x):
        x = F.relu(self.convolution(x)).view(x.size(0), -1)
        return F.log_softmax(self.linear(x), dim=1)


class ResidualNet(nn.Module):
    def __init__(self, width=24, depth=2, dropout=0.1):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return F.log_softmax(self.head(x), dim=1)


class DroppingInPlace(nn.Module):
    """Calls dropout as a statement, without using its result."""

    def __init__(self, dropout=0.5):
        super().__init__()
        self.dropout = dropout
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = F.gelu(self.first(x.flatten(1)))
        F.dropout(x, self.dropout, self.training, inplace=True)
        return F.log_softmax(self.second(x), dim=1)


class Recurrent(nn.Module):
    """Reads an image row by row: the plainest of recurrent networks, written out."""

    def __init__(self, width=16):
        super().__init__()
        self.read, self.recall, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, x):
        memory = torch.zeros(len(x), self.recall.in_features, dtype=x.dtype, device=x.device)
        for row in x.squeeze(1).unbind(1):
            memory = torch.tanh(self.read(row) + self.recall(memory))
        return F.log_softmax(self.head(memory), dim=1)


class Transformer(nn.Module):
    """Reads an image row by row, by attention."""

    def __init__(self, dropout=0.1):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return F.log_softmax(self.head(self.encoder(x.squeeze(1)).flatten(1)), dim=1)


class Memory(nn.Module):
    """Reads an image row by row, by torch's own recurrent layers."""

    def __init__(self, dropout=0.1, width=12):
        super().__init__()
        self.lstm = nn.LSTM(8, width, num_layers=2, dropout=dropout, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return F.log_softmax(self.head(self.lstm(x.squeeze(1))[0][:, -1]), dim=1)


class _Double(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, x):
        return self.network(x.double())


def in_double_precision(model, **architecture):
    return _Double(model(**architecture))


class DataDependent(nn.Module):
    """Cannot be stacked: Python branches on a value."""

    def __init__(self, bound=0.0):
        super().__init__()
        self.bound = bound
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer(x.flatten(1))
        if x.mean() > self.bound:
            x = x * 0.5
        return F.log_softmax(x, dim=1)


class Noisy(nn.Module):
    """Cannot be stacked: draws from torch's generator."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer(x.flatten(1))
        return F.log_softmax(x + 0.1 * torch.randn_like(x) if self.training else x, dim=1)


def digits(training_size=64, validation_size=50):
    return load_digits(training_size=training_size, validation_size=validation_size)


def enlarged(data: Data) -> Data:
    """Return the same images with 28 x 28 pixels, for the paper's network."""
    splits = [
        Split(F.interpolate(s.inputs.float(), size=28).to(torch.uint8), s.targets)
        for s in (data.training, data.validation, data.test)
    ]
    return Data(data.name, *splits, mean=data.mean, std=data.std, description=data.description)


def small_task(model=None, data=None, **recipe):
    model = model or partial(MLP, inputs=64, width=16, dropout=0.2)
    return Task("small", model, data or digits(), recipe=Recipe(**recipe))


STACKABLE = {
    "paper-cnn": (PaperCNN, lambda: enlarged(digits(16, 4))),
    "mlp": (partial(MLP, inputs=64, width=32, depth=2, dropout=0.3), digits),
    "batch-norm": (NormalisedCNN, digits),
    "view": (ViewingCNN, digits),
    "residual": (ResidualNet, digits),
    "recurrent": (Recurrent, digits),
    "in place": (DroppingInPlace, digits),
    "transformer": (Transformer, digits),
    "lstm": (Memory, digits),
}
