"""The networks of a study, trained again and tested, and the states that its objective saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deap_hpo.errors import InputError
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.entries import Entry
from deap_hpo.records.run_files import states_folder
from deap_hpo.results import Results

if TYPE_CHECKING:
    from torch import nn

    from deap_hpo.training.checkpoints import CheckpointStore
    from deap_hpo.training.trainers import Trainer


class TrainedResults(Results):
    """The results of a study, and its networks and states."""

    evaluator: Evaluator | None = None  # known in the process that ran the study
    storage: str | None = None  # known if the study has a storage

    def best_model(self, trainer: Trainer | None = None) -> nn.Module:
        """Train the best network again and give it; a second call gives a copy. See `model_of`.

        It is your own module, on the CPU wherever it was trained, and expects the same inputs as in training:
        normalised ones, unless the task's data are not normalised. Using it takes two lines, the second of which
        normalises::

            network = study.best_model()
            outputs = network(task.data.prepare(inputs))  # inputs of the type that task.data.training has

        To give it to others, with its normalisation, use `deap_hpo.training.program.save_program`.

        Raises:
            InputError: No evaluation is feasible, or as for `model_of`.
        """
        return self.model_of(self.best, trainer)

    def model_of(self, entry: Entry, trainer: Trainer | None = None) -> nn.Module:
        """Train the network of an evaluation again, such as one of the front, and give it on the CPU, for evaluation.

        On a CPU it is bit for bit the network that was evaluated (the first, if there were several repeats). It expects
        inputs that `task.data.prepare` has normalised; see `best_model`.

        Args:
            entry: The evaluation.
            trainer: A trainer with the same settings as the one that evaluated it (`make_trainer`). It is needed in
                another process, because a record holds neither network nor data. It may compute on another device.

        Raises:
            InputError: The evaluator was not a trainer of this package, has other settings than the given one, or is
                not known in this process.
        """
        from deap_hpo.retraining import reference_of, retrain

        return retrain(reference_of(self, trainer), entry, self.entries, self.space)[0].cpu()

    def refit(self, trainer: Trainer | None = None, *, entry: Entry | None = None) -> nn.Module:
        """Train a network with the best hyperparameters, on training and validation examples together, for use.

        Only test examples are left to measure this network; the values on record are of one trained without the
        validation examples. It expects the same inputs as that of `best_model`, and is trained for as many epochs: if
        the trainer keeps the best epoch, up to that epoch.

        Args:
            trainer: See `model_of`.
            entry: The evaluation whose hyperparameters count; by default the best.

        Raises:
            InputError: As for `model_of`.

        Example:
            >>> from sklearn.datasets import load_digits
            >>> from torch import nn
            >>> from deap_hpo import Float, Task, make_trainer, optimize
            >>> task = Task.from_data(lambda: nn.Linear(64, 10), load_digits(return_X_y=True), test=0.2)
            >>> trainer = make_trainer(task, epochs=2, device="cpu")
            >>> study = optimize(trainer, {"lr": Float(0.01, 0.1)}, max_evaluations=3)
            >>> loss, metrics = trainer.reference.measure(study.refit(), task.data.test)
            >>> metrics["accuracy"] > 0.8
            True
        """
        from deap_hpo.retraining import reference_of, refit

        chosen = self.best if entry is None else entry
        return refit(reference_of(self, trainer), chosen, self.entries, self.space).cpu()

    def test_metrics(self, trainer: Trainer | None = None, *, entry: Entry | None = None) -> dict[str, float]:
        """Train the best network again, and measure loss and metrics on the test examples, which the search never saw.

        Args:
            trainer: See `model_of`.
            entry: The evaluation whose network is measured, such as one of the front; by default the best.

        Raises:
            InputError: There are no test examples, or as for `model_of`.
        """
        from deap_hpo.retraining import reference_of

        trained_by = reference_of(self, trainer)
        if trained_by.data.test is None:
            raise InputError("test_metrics() needs test examples, and the task's data have none.")
        network = self.model_of(self.best if entry is None else entry, trainer)
        loss, metrics = trained_by.measure(network, trained_by.data.test)
        return {"loss": loss, **metrics}

    def best_state(self, checkpoints: CheckpointStore | None = None) -> Any:
        """Give the state that the objective saved in the best evaluation; see `state_of`.

        Raises:
            InputError: No evaluation is feasible, or as for `state_of`.
        """
        return self.state_of(self.best, checkpoints)

    def state_of(self, entry: Entry, checkpoints: CheckpointStore | None = None) -> Any:
        """Give the state that the objective passed to `checkpoint.save` in an evaluation, its tensors on the CPU.

        A study keeps the states of the best evaluation (with several objectives, of the front), of its last batch, and
        of all evaluations that an algorithm may continue.

        Args:
            entry: The evaluation.
            checkpoints: Where states are kept (``FolderCheckpoints(...)``); by default where `optimize` keeps them.

        Raises:
            InputError: It saved no state, or the state does not exist any more.
        """
        from deap_hpo.functions.checkpoint import kept_states, saved_state

        folder = None if self.storage is None else states_folder(self.name, self.storage)
        checkpoints = kept_states(checkpoints, self.evaluator, folder)
        reference = self._checkpoint_of(entry)
        if checkpoints is None or reference is None:
            why = "it saved none with checkpoint.save(state)" if reference is None else "its state is kept elsewhere"
            raise InputError(
                f"Evaluation {entry.number} of the study {self.name!r} has no state in `checkpoints`: {why}."
            )
        if reference not in checkpoints:
            raise InputError(
                f"The state of evaluation {entry.number} of the study {self.name!r} does not exist any more. Only "
                "those of the best evaluation, of the last batch, and of evaluations that an algorithm may continue "
                "are kept."
            )
        return saved_state(checkpoints, reference)

    def _checkpoint_of(self, entry: Entry) -> str | None:
        return entry.evaluation.checkpoint
