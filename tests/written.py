"""Runs and tasks as a user writes them into files, for the tests of several commands."""

PBT = """
[task]
data = "digits"
model = "mlp"
arguments = { inputs = 64, width = 32, dropout = 0.2 }
training_size = 300
validation_size = 200

[training]
epochs = 5
device = "cpu"
recipe = { schedule = "constant" }

[space]
lr = { type = "float", low = 0.001, high = 1.0, log = true }
momentum = { type = "float", low = 0.0, high = 0.9 }
batch_size = { type = "categorical", choices = [16, 32] }

[evolution]
algorithm = "pbt"
population = 4
generations = 5
arguments = { exploit = "tournament" }

[execution]
executor = "serial"
"""

PLAIN = """
from functools import partial
from deap_hpo import Float, Task
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP
space = {"lr": Float(0.01, 0.1)}
def task(): return Task("plain", partial(MLP, inputs=64), load_digits(training_size=100, validation_size=50))
number = 3
def objective(params, *more, scale=1.0): return params["lr"]
"""
