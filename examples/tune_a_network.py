"""Tune your own network on your own arrays: a regression on scikit-learn's diabetes data."""

from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from deap_hpo import Float, Int, Recipe, Task, make_trainer, optimize


class Network(nn.Module):
    """Any module; the arguments of its constructor can be searched."""

    def __init__(self, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs [N, 10] to predictions [N, 1]."""
        predictions: Tensor = self.layers(inputs)
        return predictions


inputs, targets = load_diabetes(return_X_y=True)
targets = (targets - targets.mean()) / targets.std()
task = Task.from_data(
    Network,
    (inputs[:350], targets[:350]),  # or a Dataset, or tensors
    validation=0.25,
    test=(inputs[350:], targets[350:]),
    objective="mean_absolute_error",  # the search minimises this, training the squared error
    recipe=Recipe(optimizer="adamw", batch_size=32, schedule="constant"),
)

if __name__ == "__main__":
    study = optimize(
        make_trainer(task, epochs=10, device="cpu"),
        {
            "lr": Float(1e-4, 1e-1, log=True),  # a field of the recipe
            "weight_decay": Float(1e-5, 1.0, log=True),
            "width": Int(8, 64, log=True),  # an argument of the network
            "dropout": Float(0.0, 0.5),
        },
        name="diabetes",
        storage="runs/diabetes.db",
        resume=True,
        population=8,
        generations=3,
        seed=1,
    )
    network = study.best_model()
    print(network)
    print(f"validation error {study.best_value:.3f}, test {study.test_metrics()} with {study.best_params}")
