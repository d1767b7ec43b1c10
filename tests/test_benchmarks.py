"""The arithmetic of benchmarks/ that tables rest on."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from oracle import ended_by_oracle
from steady_state import print_tables
from strategies import regret_after
from unseen import main, with_regrets

ROOT = Path(__file__).parents[1]


def test_the_curves_of_the_figure_follow_from_the_runs():
    drawn = pd.read_csv(ROOT / "figures/data/benchmark_regret.csv").set_index(["method", "budget"])["regret"]
    runs = map(json.loads, (ROOT / "benchmarks/results/strategies.jsonl").read_text().splitlines())
    rows = [
        (run["method"], budget, regret_after(run, budget))
        for run in runs
        if run["batch_size"] == 1 and not run["noise"] and run["seed"] < 20
        for budget in (1, 30, 200)
    ]
    means = pd.DataFrame(rows, columns=["method", "budget", "regret"]).groupby(["method", "budget"])["regret"].mean()
    assert len(drawn.loc["surrogate"]) == 21
    wanted = means.loc[drawn.index.get_level_values("method").unique()]
    np.testing.assert_allclose(drawn[wanted.index], wanted, rtol=1e-4)


def test_an_oracle_pays_whole_trainings_for_improvements_only():
    incumbents = [[1, 0.5], [4, 0.1]]  # of six trainings: two of 52 epochs, four of 6
    assert ended_by_oracle(incumbents, trainings=6, epochs=6, limit=52 + 2 * 6 + 52 + 2 * 6) == (0.1, 6)
    assert ended_by_oracle(incumbents, trainings=6, epochs=6, limit=52 + 2 * 6 + 51) == (0.5, 3)
    assert ended_by_oracle(incumbents, trainings=6, epochs=52, limit=3 * 52) == (0.5, 3)


def test_the_tables_of_steady_states_are_made_of_the_runs(capsys):
    lines = (ROOT / "benchmarks/results/steady_state.jsonl").read_text().splitlines()
    print_tables([json.loads(line) for line in lines])
    tables = capsys.readouterr().out
    assert len(tables.splitlines()) == 8 + 1 + 4
    for name in ("docs/scaling.md", "benchmarks/README.md"):
        assert tables in (ROOT / name).read_text()


def test_regrets_on_unseen_problems_are_between_the_best_of_all_and_the_median_of_random_ones():
    common = {"problem": "p", "seed": 1, "batch_size": 1, "noise": False}
    runs = [
        {**common, "method": "random", "losses": [5.0, 7.0, 3.0]},
        {**common, "method": "other", "losses": [9.0, 1.0, 2.0]},
    ]
    random, other = with_regrets(runs).values()
    assert random["incumbents"] == [[1, 1.0], [3, 0.5]]
    assert other["incumbents"] == [[1, 2.0], [2, 0.0]]


def test_unseen_problems_are_trained_and_compared_and_a_stopped_comparison_goes_on(tmp_path, monkeypatch, capsys):
    output = tmp_path / "unseen.jsonl"
    command = ["unseen.py", "--problems", "ridge-diabetes", "svr-friedman", "--methods", "surrogate", "random"]
    command += ["--budgets", "2", "5", "--output", str(output), "--seeds"]
    for seeds in (1, 2):
        monkeypatch.setattr(sys, "argv", [*command, str(seeds)])
        main()
    runs = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(run["seed"], len(run["losses"])) for run in runs] == [(1, 5)] * 4 + [(2, 5)] * 4
    assert len({tuple(run["losses"]) for run in runs}) == 8
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4].startswith("| method | 2: regret (95 %), rank | 5: regret (95 %), rank")
    assert {line.split()[1] for line in printed[-2:]} == {"surrogate", "random"}


def test_the_table_of_unseen_problems_is_made_of_the_runs(tmp_path, monkeypatch, capsys):
    output = tmp_path / "unseen.jsonl"
    output.write_bytes((ROOT / "benchmarks/results/unseen.jsonl").read_bytes())
    monkeypatch.setattr(sys, "argv", ["unseen.py", "--output", str(output)])
    main()
    table = capsys.readouterr().out.partition("| method")[2]
    assert len(table.splitlines()) == 8
    assert table in (ROOT / "benchmarks/README.md").read_text()


def test_what_is_said_of_unseen_problems_follows_from_the_runs():
    lines = (ROOT / "benchmarks/results/unseen.jsonl").read_text().splitlines()
    runs = with_regrets(map(json.loads, lines))
    told = [
        ("optuna-gp", 10, 73, 27, 0.073, 0.015, 0.025),
        ("optuna-gp", 30, 63, 28, 0.030, 0.007, 0.014),
        ("optuna-gp", 60, 59, 24, 0.021, 0.006, 0.010),
        ("optuna-tpe", 30, 69, 23, 0.029, 0.008, 0.012),
        ("optuna-tpe", 60, 65, 21, 0.025, 0.004, 0.012),
    ]
    for peer, budget, better, worse, lead, over_seeds, over_problems in told:
        pairs = [one for one in runs if one[0] == "surrogate"]
        leads = np.array(
            [regret_after(runs[(peer, *one[1:])], budget) - regret_after(runs[one], budget) for one in pairs]
        )
        assert (sum(leads > 0), sum(leads < 0)) == (better, worse)
        by_problem = pd.Series(leads).groupby([one[1] for one in pairs]).mean()
        by_seed = pd.Series(leads).groupby([one[2] for one in pairs]).mean()
        found = leads.mean(), by_seed.sem(), by_problem.sem()
        np.testing.assert_allclose(found, (lead, over_seeds, over_problems), atol=0.0006)
        assert peer == "optuna-tpe" or (by_problem > 0).all(), "on each of the ten problems"
