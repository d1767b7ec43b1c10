"""TOML that is written is read back as it was, in either form."""

from __future__ import annotations

from deap_hpo.configuration.config import tomllib
from deap_hpo.configuration.toml_writer import config_to_toml, to_toml

ODD = {
    "text": 'a "quoted" \\ line\n, and \x7f',  # JSON allows \x7f unescaped, TOML does not
    "number": 1e-06,
    "whole": 3,
    "yes": True,
    "list": [1, "b", 0.5],
    "inf": float("inf"),
    "outer": {"inner": {"dotted.key": 1, "ümlaut": "ß"}, "x": 2},
    "tables": [{"lr": 0.1, "kind": "relu"}, {"lr": 0.2, "none": None}],
    "choices": ["step", None],
    "none": None,
}
READ = {key: value for key, value in ODD.items() if key != "none"} | {
    "tables": [{"lr": 0.1, "kind": "relu"}, {"lr": 0.2}],
    "choices": ["step", "None"],
}


def test_data_are_read_back() -> None:
    assert tomllib.loads(to_toml({**ODD, "empty": {}})) == READ


def test_a_configuration_is_read_back() -> None:
    assert tomllib.loads(config_to_toml({"a b": {**ODD, "empty": {}}})) == {"a b": {**READ, "empty": {}}}
