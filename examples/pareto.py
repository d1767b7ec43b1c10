"""Trade validation loss for size: the Pareto front of a network of at most 10,000 parameters, by NSGA-II."""

from functools import partial

from deap_hpo import Float, Int, Task, make_trainer, optimize
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP

task = Task(
    "digits",
    partial(MLP, inputs=64),
    load_digits(),
    objective=["loss", "parameters"],  # both are minimised
    constraints=["parameters <= 10000"],  # larger networks are not trained
)

if __name__ == "__main__":
    study = optimize(
        make_trainer(task, epochs=3, device="cpu"),
        {
            "lr": Float(1e-2, 3.0, log=True),  # a field of the recipe
            "momentum": Float(0.0, 0.9),
            "width": Int(4, 512, log=True),  # an argument of the network
        },
        algorithm="nsga-ii",
        population=12,
        generations=6,
        name="pareto",
        storage="runs/pareto.db",
        resume=True,  # stop it whenever you like; started again, it continues
        seed=1,
    )
    for entry in study.pareto_front():
        loss, parameters = entry.evaluation.values
        print(f"loss {loss:.3f} with {parameters:5.0f} parameters, accuracy {entry.evaluation.metrics['accuracy']:.3f}")
    print(f"{len(study.pareto_front())} networks on the front; hypervolume {study.hypervolumes((2.3, 10_000))[-1]:.0f}")
