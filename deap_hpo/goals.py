"""The goals of a search: objectives, each with its direction, and constraints on the measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Direction, worst_values

GOALS = {"objective", "direction", "constraints"}
"""The settings of a task by which it is judged. A task from the user's own file takes these, and no others."""

JUDGED_BY = "judged_by"
"""Name of the attribute with the objective by which `judged_by` judges a study."""

_MINIMISED = ("loss", "error", "mse", "mape", "nll", "perplexity", "regret", "parameters", "seconds", "latency")
"""Endings of words, as in "valloss" and "rmse"."""

_MINIMISED_WORDS = frozenset(("cer", "err", "fid", "mae", "wer"))
"""Whole words: many others end in one of these, as "cancer" and "answer" do."""

_MAXIMISED = frozenset(
    ("accuracy", "acc", "auc", "auroc", "auprc", "f1", "precision", "recall", "r2", "reward", "iou", "dice", "map")
    + ("bleu", "rouge", "kappa", "mcc", "psnr", "ssim")
)

_CONSTRAINT = re.compile(r"\s*(.+?)\s*(<=|>=)\s*(\S+)\s*")
_SIGNS = {"<=": 1, ">=": -1}


def usual_direction(name: str) -> Direction | None:
    """Give the direction of a metric with a common name, by the words in it; None if the name does not tell.

    Words are separated by other characters or by case. A name that ends in a loss or an error ("dice_loss") is
    minimised. Any other name with words of both kinds does not tell.

    Example:
        >>> usual_direction("val_f1"), usual_direction("top_5_error"), usual_direction("score")
        ('maximize', 'minimize', None)
        >>> usual_direction("cancer_recall"), usual_direction("valMAE"), usual_direction("mae_auc")
        ('maximize', 'minimize', None)
    """
    if re.search("(loss|error)[^a-z]*$", name.lower()):
        return "minimize"
    by_case = re.findall("[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*", name)
    words = {*re.findall("[a-z]+[0-9]*", name.lower()), *map(str.lower, by_case)}  # "mAP" is one word
    less = bool(words & _MINIMISED_WORDS) or any(word.endswith(_MINIMISED) for word in words)
    more = bool(words & _MAXIMISED)
    if less == more:
        return None
    return "minimize" if less else "maximize"


def warn_of_one_direction(goals: Goals, direction: object) -> None:
    """Warn if several objectives were given one direction in common, which is the wrong one for the name of one.

    Warns:
        DeapHPOWarning: They were.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warn_of_one_direction(Goals.of(["f1", "parameters"], "maximize"), "maximize")
        >>> str(said[0].message)
        "'parameters' is maximised, like all objectives; if less of it is better, give a direction for each objective"
    """
    for name, one in zip(goals.objectives, goals.directions, strict=True) if isinstance(direction, str) else ():
        if len(goals.objectives) > 1 and usual_direction(name) not in (None, one):
            verb, better = ("maximised", "less") if one == "maximize" else ("minimised", "more")
            warn(
                f"{name!r} is {verb}, like all objectives; if {better} of it is better, give a direction for each "
                "objective"
            )
            return


@dataclass(frozen=True)
class Constraint:
    """A bound on a measurement.

    Attributes:
        metric: Name of the measurement.
        relation: "<=" or ">=".
        bound: The bound, finite.

    Example:
        >>> limit = Constraint.parse("parameters <= 1e6")
        >>> limit.violation(1.5e6), limit.violation(1e6), str(limit)
        (0.5, 0.0, 'parameters <= 1000000')
    """

    metric: str
    relation: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read a constraint: a name, <= or >=, and a number.

        Raises:
            InputError: The text is not a constraint.
        """
        match = _CONSTRAINT.fullmatch(text) if isinstance(text, str) else None
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise InputError(f"A constraint must be NAME <= NUMBER or NAME >= NUMBER; got {text!r}.")
        return cls(match[1], match[2], bound)

    def violation(self, value: float) -> float:
        """Give how far a value breaks it, as a share of the bound (or of 1, if the bound is 0); inf for NaN."""
        if math.isnan(value):
            return math.inf
        return max(0.0, _SIGNS[self.relation] * (value - self.bound)) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {repr(self.bound).removesuffix('.0')}"


def check_directions(directions: Direction | Sequence[Direction]) -> tuple[Direction, ...]:
    """Return directions, one or several, as a tuple.

    Raises:
        InputError: There is none, or one is neither "minimize" nor "maximize".

    Example:
        >>> check_directions("maximize"), check_directions(["minimize", "maximize"])
        (('maximize',), ('minimize', 'maximize'))
    """
    given: tuple[Direction, ...] = (directions,) if isinstance(directions, str) else tuple(directions)
    wrong = [one for one in given if one not in ("minimize", "maximize")]
    if wrong or not given:
        raise InputError(f"direction must be 'minimize' or 'maximize'; got {wrong[0] if wrong else directions!r}.")
    return given


@dataclass(frozen=True)
class Goals:
    """The goals by which an evaluation is judged.

    Attributes:
        objectives: Names of the optimised measurements, at least one.
        directions: "minimize" or "maximize" for each.
        constraints: The constraints.
    """

    objectives: tuple[str, ...] = ("loss",)
    directions: tuple[Direction, ...] = ("minimize",)
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(
        cls,
        objective: str | Sequence[str],
        direction: Direction | Sequence[Direction],
        constraints: Sequence[str] = (),
        *,
        known: Collection[str] | None = None,
    ) -> Goals:
        """Check and read goals as users give them.

        Args:
            objective: A name, or several.
            direction: One for all objectives, or one for each.
            constraints: Texts such as "parameters <= 1e6"; see `Constraint.parse`.
            known: The names of all measurements; None if they are not known yet.

        Raises:
            InputError: A name is unknown or given twice, or a direction or a constraint is invalid.

        Example:
            >>> goals = Goals.of(["loss", "parameters"], "minimize", ["accuracy >= 0.5"])
            >>> goals.judge({"loss": 0.5, "accuracy": 0.25, "parameters": 100.0})
            ((0.5, 100.0), {'accuracy': 0.25}, 0.5)
        """
        if isinstance(objective, Mapping):
            raise InputError(
                f"objective must be a name or several; directions are an argument of their own. Got {objective!r}."
            )
        objectives = (objective,) if isinstance(objective, str) else tuple(objective)
        directions = check_directions(direction)
        if isinstance(direction, str):
            directions *= len(objectives)
        if isinstance(constraints, str):
            raise InputError(f"constraints must be a list of texts; got the text {constraints!r}.")
        bounds = tuple(map(Constraint.parse, constraints))
        if not objectives or len(set(objectives)) < len(objectives):
            raise InputError(f"objective must be a name or several different ones; got {objective!r}.")
        if len(directions) != len(objectives):
            raise InputError(
                f"direction must be one for all objectives or one for each of the {len(objectives)}; got {direction!r}."
            )
        named = [("objective", name) for name in objectives] + [("constraints", one.metric) for one in bounds]
        for argument, name in named:
            if known is not None and name not in known:
                raise InputError(f"{argument} must name what is measured ({', '.join(known)}); got {name!r}.")
        return cls(objectives, directions, bounds)

    @property
    def worst(self) -> tuple[float, ...]:
        """The values of an evaluation that did not end well; see `worst_values`.

        Example:
            >>> Goals.of(["loss", "accuracy"], ["minimize", "maximize"]).worst
            (inf, -inf)
        """
        return worst_values(self.directions)

    def judge(self, measured: Mapping[str, float]) -> tuple[tuple[float, ...], dict[str, float], float]:
        """Give the objectives' values, the other measurements, and the violation of all constraints together."""
        values = tuple(measured[name] for name in self.objectives)
        others = {name: value for name, value in measured.items() if name not in self.objectives}
        return values, others, self.violation(measured)

    def violation(self, measured: Mapping[str, float]) -> float:
        """Give the sum of the relative excesses over the bounds; constraints on other measurements are left out."""
        return sum(
            (one.violation(measured[one.metric]) for one in self.constraints if one.metric in measured), start=0.0
        )

    @property
    def settings(self) -> dict[str, object]:
        """The goals as a record keeps them, without those that are the defaults."""
        names: object = self.objectives[0] if len(self.objectives) == 1 else list(self.objectives)
        return {
            **({"objective": names} if names != "loss" else {}),
            **({"constraints": [str(one) for one in self.constraints]} if self.constraints else {}),
        }


def names_of_objectives(attributes: Mapping[str, Any], count: int) -> list[str]:
    """Give the names of a run's objectives by its recorded attributes, or make up names.

    Example:
        >>> names_of_objectives({"evaluator": {"metric": "accuracy"}}, 1), names_of_objectives({}, 2)
        (['accuracy'], ['value 1', 'value 2'])
    """
    return given_names(attributes, count) or made_up_names(count)


def made_up_names(count: int) -> list[str]:
    """Give names to objectives that have none.

    Example:
        >>> made_up_names(1), made_up_names(2)
        (['value'], ['value 1', 'value 2'])
    """
    return ["value"] if count == 1 else [f"value {i}" for i in range(1, count + 1)]


def given_names(attributes: Mapping[str, Any], count: int) -> list[str]:
    """Give the names of a run's objectives by its recorded attributes; empty if these do not name `count` objectives.

    Example:
        >>> given_names({"evaluator": {"task": "digits"}}, 1), given_names({}, 2)
        (['loss'], [])
    """
    evaluator: Mapping[str, Any] = attributes.get("evaluator") or {}
    names = (
        attributes.get(JUDGED_BY)
        or evaluator.get("objective")
        or evaluator.get("metric")
        or ("loss" if "task" in evaluator else None)
    )
    names = [names] if isinstance(names, str) else names
    return list(names) if names and len(names) == count else []


def check_agreement(goals: Goals | None, directions: Sequence[Direction]) -> None:
    """Check that an evaluator and a study have the same directions, if the evaluator knows its goals.

    Raises:
        InputError: They differ, so that one would prune or rank in the opposite direction of the other.

    Example:
        >>> check_agreement(Goals(), ["maximize"])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: directions must agree with those of the evaluator, minimize; the study has maximize.
    """
    if goals is not None and goals.directions != tuple(directions):
        raise InputError(
            f"directions must agree with those of the evaluator, {', '.join(goals.directions)}; the study has "
            f"{', '.join(directions)}."
        )
