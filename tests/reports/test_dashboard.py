"""The dashboard: shows a running study, in a real browser; writes nothing; is seen from this machine only."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from test_study import SPACE, objective, truncation

from deap_hpo import Float, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.records.storage import open_storage
from deap_hpo.reports.dashboard import make_server, url_of
from deap_hpo.study import Study

pytest.importorskip("optuna_dashboard", reason="needs the extra [dashboard]")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def with_curve(params: dict[str, Any]) -> Evaluation:
    value = (params["x"] - 1) ** 2 + params["y"]
    curve = tuple(Epoch(i, value + 1 / i, value + 2 / i) for i in range(1, 4))
    return Evaluation((value,), curve=curve, metrics={"accuracy": 0.5})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("whole") / "a.db"
    with Study(SPACE, name="quick", storage=str(storage), seed=3) as study:
        truncation(study, with_curve)
    return storage


@pytest.fixture
def record(tmp_path: Path, whole: Path) -> str:
    return str(shutil.copy(whole, tmp_path))


def accurate(params: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": params["x"], "size": 1.0}


@contextmanager
def served(record: str) -> Iterator[str]:
    with make_server(record, port=0) as server:
        # A server looks as often whether it is to end.
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        yield url_of(server)
        server.shutdown()
        thread.join()


@pytest.fixture
def page(record: str) -> Iterator[str]:
    with served(record) as url:
        yield url


def _ask(url: str, **options: Any) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=30) as answer:
        return json.load(answer)


def test_objectives_are_called_as_the_evaluator_calls_them(tmp_path: Path) -> None:
    storage = f"{tmp_path}/named.db"
    optimize(accurate, {"x": Float(0.0, 1.0)}, metric="accuracy", direction="maximize", generations=1, storage=storage)
    before = hashlib.sha256(Path(storage).read_bytes()).hexdigest()
    with served(storage) as page:
        api = page.replace("/dashboard/", "/api")
        assert _ask(f"{api}/studies/1")["objective_names"] == ["accuracy"]
    assert hashlib.sha256(Path(storage).read_bytes()).hexdigest() == before


def test_a_run_that_goes_on_is_shown_with_what_its_trials_tell(page: str, record: str) -> None:
    api = page.replace("/dashboard/", "/api")
    (study,) = _ask(f"{api}/studies")["study_summaries"]
    assert study["study_name"] == "quick"
    with Study(SPACE, name="going-on", storage=record, seed=4) as running:
        truncation(running, objective)
        deadline = time.monotonic() + 30
        while len(_ask(f"{api}/studies")["study_summaries"]) < 2:
            assert time.monotonic() < deadline
    trials = _ask(f"{api}/studies/{study['study_id']}")["trials"]
    assert len(trials) == 15
    attributes = {attribute["key"] for attribute in trials[-1]["user_attrs"]}
    assert {"generation", "parents", "operators", "status", "seconds"} <= attributes
    assert len(trials[0]["intermediate_values"]) == 3
    importances = _ask(f"{api}/studies/{study['study_id']}/param_importances")["param_importances"]
    assert {one["name"] for one in importances[0]} == set(SPACE)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/studies"), ("DELETE", "/studies/1"), ("PUT", "/studies/1/note"), ("POST", "/trials/1/tell")],
)
def test_nothing_can_be_changed(page: str, record: str, method: str, path: str) -> None:
    before = hashlib.sha256(Path(record).read_bytes()).hexdigest()
    with pytest.raises(urllib.error.HTTPError) as refusal:
        _ask(page.replace("/dashboard/", "/api") + path, method=method, data=b'{"study_name": "x", "directions": [1]}')
    assert refusal.value.code == 405
    assert refusal.value.read() == b"The record can be looked at here, not changed."
    assert hashlib.sha256(Path(record).read_bytes()).hexdigest() == before


def test_the_database_itself_refuses_to_be_changed(record: str) -> None:
    storage = open_storage(record, read_only=True)
    study = storage.get_study_id_from_name("quick")
    assert len(storage.get_all_trials(study)) == 15
    with pytest.raises(StorageInternalError) as refusal:
        storage.set_study_user_attr(study, "final", 1)
    assert "readonly" in str(refusal.value.__cause__)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_other_names_are_not_answered(page: str, host: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        _ask(page, headers={"Host": host})
    assert refusal.value.code == 403


def test_it_listens_on_loopback_only(record: str) -> None:
    with make_server(record, port=0) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(InputError, match="Give another one with --port"):
            make_server(record, port=server.server_address[1])


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no record at"):
        make_server(f"{tmp_path}/a.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("tab", "seen"),
    [
        ("studies/1", ["History", "Hyperparameter Importance", "Intermediate values", "Best Trial"]),
        ("studies/1/analytics", ["Slice", "Contour"]),
        ("studies/1/smartSelection", ["Parallel Coordinate"]),
        ("studies/1/trials?numbers=14", ["Trial 14", "generation", "operators"]),
    ],
)
def test_a_browser_draws_it(page: str, tab: str, seen: list[str], tmp_path: Path) -> None:
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=20000", "--window-size=1400,2400",
    ]  # fmt: skip
    drawn = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", page.replace("/dashboard/", f"/dashboard/{tab}")],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    for text in seen:
        assert text.lower() in drawn.lower()
