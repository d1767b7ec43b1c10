"""Fill in the numbers of ``docs/reproduction.md`` from the tables in ``figures/data``: `make figures`.

The text between ``<!-- NAME -->`` and ``<!-- end -->`` is written here; the rest of the page is left alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deap_hpo.analysis.offline import read_table
from deap_hpo.analysis.runs import paired_difference
from deap_hpo.wording import plural

HERE = Path(__file__).parent
DATA = HERE / "data"
TEXT = HERE.parent / "docs" / "reproduction.md"
RUNS = {"baseline": "baseline", "run_1": "run 1", "run_2": "run 2", "run_3": "run 3", "run_4": "run 4"}
CLAIMS = (
    ("run_1", "baseline", "Fewer individuals and generations are worse"),
    ("run_2", "run_1", "Still fewer are worse again"),
    ("run_2", "run_3", "A higher mutation rate is better"),
    ("run_3", "run_4", "More generations are better"),
)
"""The paper's claims: the run that is said to be worse, the run that is said to be better, and the wording."""
LEVEL = 0.05


def setting(data: Path) -> str:
    """Describe how the runs were made."""
    about, runs = _json(data, "paper_runs"), pd.read_csv(data / "paper_runs.csv")
    where = "; ".join(
        f"{one.get('device_name') or one['device']}, {one['precision']}, torch {one['torch']}"
        for one in about["environments"]
    )
    evaluator = about["evaluator"]
    seeds = runs.groupby("run")["seed"].nunique()
    most = plural(seeds.max(), "seed")
    count = most if seeds.nunique() == 1 else f"{seeds.min()} to {most}"
    lines = [
        f"- {evaluator['data']['training_size']:,} training images, {evaluator['epochs']} epochs, "
        f"{evaluator['data']['validation_size']:,} validation images; {count} for each run.",
        f"- Device: {where}.",
        f"- Command: `{about['command']}`, on {about['date']}, at commit `{about['commit'][:12]}`.",
    ]
    missing = [label for run, label in RUNS.items() if run not in set(runs["run"])]
    if missing:
        lines.append(f"- **Not complete**: {', '.join(missing)} had not ended with any seed when this was written.")
    return "\n".join(lines)


def results(data: Path) -> str:
    """Write the paper's table beside ours."""
    runs, published = pd.read_csv(data / "paper_runs.csv"), pd.read_csv(data / "published.csv").set_index("run")
    columns = ("training_loss", "validation_loss", "test_loss", "test_accuracy")
    rows = []
    for run, label in RUNS.items():
        claim, seeds = published.loc[run], runs[runs["run"].eq(run)]
        if seeds.empty:
            measured = ["-"] * 8
        else:
            first = seeds.iloc[0]
            sizes = [f"{first['population']}", f"{first['generations']}", f"{first['mutation_rate']}"]
            trained = f"{seeds['trained'].mean():.1f} of {seeds['evaluations'].mean():.0f}"
            minutes = f"{seeds['seconds'].mean() / 60:.1f}" if "seconds" in seeds else "-"
            losses = [_spread(seeds[column]) for column in columns]
            measured = [" / ".join(sizes), *losses, minutes, trained, str(len(seeds))]
        claims = [f"{claim[column]:.4f}" for column in columns[:2]]
        rows.append([label, *claims, f"{claim['minutes']:.2f}", *measured])
    head = [
        "run",
        "paper: training loss",
        "paper: validation loss",
        "paper: minutes",
        "population / generations / mutation",
        "training loss",
        "validation loss",
        "test loss",
        "test accuracy",
        "minutes",
        "trained of asked",
        "seeds",
    ]
    return _table(head, rows)


def claims(data: Path) -> str:
    """Write every claim with its difference, interval and test."""
    runs, published = pd.read_csv(data / "paper_runs.csv"), pd.read_csv(data / "published.csv").set_index("run")
    rows = []
    for worse, better, words in CLAIMS:
        claimed = published.loc[better, "validation_loss"] - published.loc[worse, "validation_loss"]
        wide = runs.pivot(index="seed", columns="run", values="validation_loss")
        pairs = wide[[better, worse]].dropna() if {better, worse} <= set(wide) else pd.DataFrame()
        row = [words, f"{RUNS[better]} - {RUNS[worse]}", f"{claimed:+.4f}"]
        if len(pairs) < 2:
            single = f"{float(pairs[better].iloc[0] - pairs[worse].iloc[0]):+.4f}" if len(pairs) else "-"
            rows.append([*row, single, "-", "-", str(len(pairs)), "not tested: it takes at least 2 seeds"])
            continue
        found = paired_difference(list(pairs[better]), list(pairs[worse]))
        interval = f"[{found['low']:+.4f}, {found['high']:+.4f}]"
        p = f"{found['p']:.3f} (least possible {found['least_p']:.3g})"
        rows.append([*row, f"{found['mean']:+.4f}", interval, p, str(found["n"]), verdict(found)])
    head = ["claim", "difference", "paper", "ours, mean", "95 % interval", "p", "seeds", "verdict"]
    return _table(head, rows)


def simulated(data: Path) -> str:
    """Write the claims on the model of the trainings, and the accuracy of that model."""
    runs, about = pd.read_csv(data / "simulated_runs.csv"), _json(data, "simulated_runs")
    wide = runs.pivot(index="seed", columns="run", values="validation_loss")
    real = pd.read_csv(data / "paper_runs.csv").pivot(index="seed", columns="run", values="validation_loss")
    rows = []
    for worse, better, words in CLAIMS:
        found = paired_difference(list(wide[better]), list(wide[worse]))
        interval = f"[{found['low']:+.4f}, {found['high']:+.4f}]"
        pair = f"{RUNS[better]} - {RUNS[worse]}"
        p = f"{'at most ' if found['p'] <= found['least_p'] else ''}{found['p']:.4f}"
        rows.append([words, pair, f"{found['mean']:+.4f}", interval, p, verdict(found)])
    beside = ", ".join(
        f"{RUNS[run]} {real.loc[seed, run]:.3f} (model {wide.loc[seed, run]:.3f})"
        for seed in real.index
        for run in RUNS
        if run in real and pd.notna(real.loc[seed, run])
    )
    table = _table(["claim", "difference", "mean", "95 % interval", "p", "on the model"], rows)
    return (
        f"{len(wide)} seeds for each run, on a Gaussian process fitted to all trainings on record. Of "
        f"{about['rows']:.0f} evaluations of the paper's runs, each predicted from others, the model has a rank "
        f"correlation of {about['spearman']:.2f} and is wrong by a factor of {math.exp(about['rmse']):.2f} "
        f"(root mean square). The real runs beside the model's with the same seed (their trainings are "
        f"among those that it was fitted to): {beside}.\n\n{table}"
    )


def diversity(data: Path) -> str:
    """Describe how fast populations lose their diversity."""
    table = pd.read_csv(data / "paper_generations.csv")
    parts = []
    for run, label in RUNS.items():
        means = table[table["run"].eq(run)].groupby("generation")["diversity"].mean()
        if len(means):
            parts.append(f"{label} from {means.iloc[0]:.2f} to {means.iloc[-1]:.2f} in {len(means)} generations")
    return f"The mean distance of two genomes fell, in {'; in '.join(parts)}."


def verdict(found: dict[str, float]) -> str:
    """Say what a paired difference shows, and nothing that it does not show."""
    lower = f"lower in {found['lower']}, equal in {found['equal']}, higher in {found['higher']} of {found['n']} pairs"
    if found["p"] < LEVEL:
        return f"{'holds' if found['mean'] < 0 else 'the opposite holds'} ({lower})"
    if found["least_p"] >= LEVEL:
        few = plural(found["lower"] + found["higher"], "unequal pair")
        return f"not shown: with {few} this test cannot be significant ({lower})"
    return f"not shown ({lower})"


def best_losses(data: Path) -> str:
    """Give the lowest loss of all trainings beside the lowest published one."""
    table, _ = read_table(data / "fashion_mnist_cnn_table.parquet")
    trials = pd.read_csv(data / "paper_trials.csv")
    trained = trials[trials["duplicate_of"].isna()]
    lowest = min(table["value"].min(), trained["value"].min())
    claimed = pd.read_csv(data / "published.csv")["validation_loss"].min()
    return (
        f"Of {len(table) + len(trained):,} trainings on record here, the lowest validation loss is {lowest:.3f}; "
        f"the lowest published one is {claimed:.4f}."
    )


def importance(data: Path) -> str:
    """Write the importance of each hyperparameter."""
    about, table = _json(data, "fashion_mnist_cnn_table"), pd.read_csv(data / "impact_importances.csv")
    kinds = ("fanova", "ped_anova")
    rows = [
        [row["hyperparameter"], *(f"{row[kind]:.2f} ± {row[f'{kind}_std']:.2f}" for kind in kinds)]
        for _, row in table.iterrows()
    ]
    share = _table(["hyperparameter", "whole space (fANOVA)", "among the best tenth (PED-ANOVA)"], rows)
    trained, planned = about["rows"]["sobol"], about["planned"]
    whole = "" if trained == planned else f", of the {planned} points that the sequence was to have"
    return f"From {trained} trainings{whole}, ± the standard deviation over ten bootstrap resamples of them:\n\n{share}"


def dependence(data: Path) -> str:
    """Describe how the modelled loss changes from one end of a range to the other."""
    table = pd.read_csv(data / "impact_partial_dependence.csv")
    parts = []
    for name, curve in table.groupby("hyperparameter", sort=False):
        ends, best = curve.iloc[[0, -1]], curve.loc[curve["mean"].idxmin()]
        (first, last), (mean, other), (low, least) = (list(ends[column]) for column in ("value", "mean", "low"))
        parts.append(
            f"- {str(name).replace('_', ' ')} from {first:.3g} to {last:.3g}: the geometric mean goes from {mean:.2f} "
            f"to {other:.2f}, with a minimum of {best['mean']:.2f} at {best['value']:.2g}; the tenth of the settings "
            f"with the lowest losses from below {low:.2f} to below {least:.2f}."
        )
    return "The modelled loss, averaged over the other hyperparameters of the sample:\n\n" + "\n".join(parts)


def interaction(data: Path) -> str:
    """Describe the effects of pairs of hyperparameters beyond their main effects."""
    numbers = _json(data, "impact")
    shares = ", ".join(
        f"{100 * one['share']:.1f} % for {one['first']} x {one['second']}" for one in numbers["interaction_shares"]
    )
    return f"Beyond main effects there is, as a share of the variance of each map of two: {shares}.".replace("_", " ")


def momentum(data: Path) -> str:
    """Describe how momentum trades off against the learning rate."""
    found = _json(data, "impact")["momentum_exponent"]
    return (
        f"With lr / (1 - momentum)^a, the order fits the losses best at a = {found['exponent']:.2f} (95 % of random "
        f"halves of the {found['rows']:.0f} trainings: {found['low']:.2f} to {found['high']:.2f}). From one training "
        f"to the next in that order the loss jumps by a factor of {found['jump']:.2f} on average; by "
        f"{found['jump_effective']:.2f} at a = 1, and by {found['jump_lr']:.2f} in the order of the learning rate "
        f"alone."
    )


def noise(data: Path) -> str:
    """Describe how much of the differences is luck."""
    numbers = _json(data, "impact")
    if "noise" not in numbers:
        return "The repeats had not ended when this was written."
    table, found = pd.read_csv(data / "impact_noise.csv"), numbers["noise"]
    diverged = int(table["diverged"].sum())
    parts = [
        f"{len(table)} configurations, at equal distances in the order of the losses from good to useless, were "
        f"trained with {table['seeds'].max()} further seeds each ({diverged} of {int(table['seeds'].sum())} trainings "
        f"diverged).",
        f"Of the variance of the log losses, {100 * found['share']:.1f} % lies between seeds rather than between "
        f"configurations so far apart ({found['configurations']:.0f} without divergence).",
        f"Two seeds of one configuration typically differ by a factor of {found['ratio']:.3f}; the standard deviation "
        f"of the validation loss is {table['std'].median():.4f} in the median, {table['std'].min():.4f} to "
        f"{table['std'].max():.4f}.",
    ]
    return " ".join(parts)


def models(data: Path) -> str:
    """Describe how well the offline benchmark predicts trainings that it has not seen."""
    found = _json(data, "impact")["models"]
    rows = [
        [name, f"{one['r2']:.2f}", f"{one['rmse']:.2f}", f"{one['mae']:.2f}", f"{one['spearman']:.2f}"]
        for name, one in found.items()
    ]
    return _table(
        ["model", "R2 of the log loss", "RMSE of the log loss", "mean absolute error of the loss", "Spearman"], rows
    )


BLOCKS: dict[str, Callable[[Path], str]] = {
    function.__name__: function
    for function in (
        setting,
        results,
        claims,
        simulated,
        diversity,
        best_losses,
        importance,
        dependence,
        interaction,
        momentum,
        noise,
        models,
    )
}


def filled(text: str, data: Path = DATA) -> str:
    """Return the text with its generated parts written again from the tables."""
    for name, block in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise SystemExit(f"The text must have exactly one part {name!r}.")
        made = block(data)
        text = pattern.sub(lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text)
    return text


def _spread(values: pd.Series[float]) -> str:
    if len(values) < 2:
        return f"{values.iloc[0]:.4f}"
    return f"{values.mean():.4f} ± {values.std():.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _json(data: Path, name: str) -> Any:
    return json.loads((data / f"{name}.json").read_text())


if __name__ == "__main__":
    TEXT.write_text(filled(TEXT.read_text()))
    print(TEXT.relative_to(HERE.parent))
