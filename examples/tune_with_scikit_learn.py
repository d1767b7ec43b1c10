"""Tune a scikit-learn pipeline: `EvolutionSearchCV` is used like `RandomizedSearchCV`."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from deap_hpo import Categorical, EvolutionSearchCV, Float

if __name__ == "__main__":
    inputs, targets = load_breast_cancer(return_X_y=True)
    training, test, training_targets, test_targets = train_test_split(inputs, targets, random_state=0)
    search = EvolutionSearchCV(
        make_pipeline(StandardScaler(), SVC()),
        {
            "svc__C": Float(1e-2, 1e3, log=True),
            "svc__gamma": Float(1e-5, 1.0, log=True),
            "svc__kernel": Categorical(["rbf", "sigmoid"]),
        },
        population=8,
        generations=4,
        random_state=0,
    )
    search.fit(training, training_targets)
    print(f"accuracy {search.best_score_:.3f}, test {search.score(test, test_targets):.3f} with {search.best_params_}")
