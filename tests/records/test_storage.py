"""Storages: a file and a server behave the same; damage is reported and left alone; no password is shown."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from interruptions import InterruptedAt, wait_until_recorded
from optuna.storages import RDBStorage
from test_cli import CONFIG, call
from test_study import ALGORITHMS, SPACE, objective, result, simple, truncation

from deap_hpo.budget import BudgetSpent
from deap_hpo.deletion import delete_study
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.optimization import optimize
from deap_hpo.pruning import MedianPruner
from deap_hpo.recorded import load_study, note, study_names
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.record import ReplayError
from deap_hpo.records.run_files import run_folder
from deap_hpo.records.storage import close_storage, open_storage, server_url, without_password
from deap_hpo.search_space.space import Float, Space
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints

POSTGRES = os.environ.get("DEAP_HPO_TEST_POSTGRES")
needs_postgres = pytest.mark.skipif(
    not POSTGRES, reason='no PostgreSQL: eval "$(.ci/postgresql start)" starts one and sets DEAP_HPO_TEST_POSTGRES'
)
MYSQL = os.environ.get("DEAP_HPO_TEST_MYSQL")
needs_mysql = pytest.mark.skipif(
    not MYSQL, reason='no MariaDB: eval "$(.ci/mariadb start)" starts one and sets DEAP_HPO_TEST_MYSQL'
)


@contextmanager
def new_database(server: str, dropping: str = "") -> Iterator[str]:
    """A new, empty database on a server."""
    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(server_url(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        yield f"{server.rpartition('/')[0]}/{name}"
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} {dropping}"))
    engine.dispose()


@pytest.fixture
def postgres() -> Iterator[str]:
    pytest.importorskip("psycopg")
    with new_database(POSTGRES or "", "WITH (FORCE)") as url:
        yield url


@pytest.fixture
def mysql() -> Iterator[str]:
    pytest.importorskip("pymysql")
    with new_database(MYSQL or "") as url:
        yield url


SERVERS = [pytest.param("postgres", marks=needs_postgres), pytest.param("mysql", marks=needs_mysql)]


@pytest.fixture(params=["sqlite", *SERVERS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/a.db" if request.param == "sqlite" else request.getfixturevalue(request.param)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


# The contract: what a study promises, it promises on any storage.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_interrupted_and_resumed_it_ends_the_same(algorithm: Any, storage: str) -> None:
    with Study(SPACE, seed=3) as study:
        counter = InterruptedAt(10**9, objective)
        expected = result(study, algorithm(study, counter))
    for boundary in range(0, counter.calls, 4):
        with Study(SPACE, name="cut", storage=storage, seed=3, resume=True) as study, pytest.raises(KeyboardInterrupt):
            algorithm(study, InterruptedAt(4 if boundary else 0, objective))
    with Study(SPACE, name="cut", storage=storage, seed=3, resume=True) as study:
        assert result(study, algorithm(study, objective)) == expected
    assert study_names(storage) == ["cut"]


SCRIPT = """
    import itertools, json, random, sys, time
    from deap_hpo.evolution.algorithms import eaTruncation
    from deap_hpo.evolution.individual import make_toolbox
    from deap_hpo.search_space.space import Float, Space
    from deap_hpo.study import Study

    seconds, last = map(float, sys.argv[2:] or ("0.05", "inf"))
    calls = itertools.count()

    def evaluate(params):
        time.sleep(seconds if next(calls) < last else 3600)
        return (params["x"] - 0.3) ** 2 + random.random()

    space = Space({"x": Float(0.0, 1.0)})
    with Study(space, name="run", storage=sys.argv[1], seed=5, resume=True) as study:
        toolbox = make_toolbox(space)
        toolbox.register("evaluate", evaluate)
        toolbox.register("map", study.map)
        population, logbook = eaTruncation(toolbox.population(n=8), toolbox, 1.0, 1.0, 4, verbose=False)
        print(json.dumps([[list(one), one.fitness.values] for one in population]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """The command of the process to kill, and what it prints if it is not killed."""
    script = tmp_path_factory.mktemp("killed") / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script)]
    storage = str(script.with_name("whole.db"))
    return command, subprocess.run([*command, storage], capture_output=True, text=True, check=True).stdout


def test_killed_with_kill_9_it_ends_the_same(storage: str, killed: tuple[list[str], str]) -> None:
    command, whole = killed
    process = subprocess.Popen([*command, storage, "0.05", "11"], stdout=subprocess.DEVNULL)  # in the second generation
    wait_until_recorded(11, process, storage=storage)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert subprocess.run([*command, storage], capture_output=True, text=True, check=True).stdout == whole


def test_a_reader_may_come_while_the_record_is_made(tmp_path: Path) -> None:
    storages = [f"{tmp_path}/{number}.db" for number in range(5)]
    ended = threading.Event()
    said: list[str] = []

    def look() -> None:
        while not ended.is_set():
            for storage in storages:
                try:
                    study_names(storage)
                except InputError as error:
                    said.append(str(error))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for storage in storages:
            Study(SPACE, name="run", storage=storage).close()
    finally:
        ended.set()
        reader.join()
    assert all(one.startswith("There is no record at") for one in said)


def test_another_run_or_algorithm_is_refused_and_the_record_left_alone(storage: str) -> None:
    options = {"name": "run", "storage": storage}
    with Study(SPACE, seed=3, **options) as study:
        truncation(study, objective)
    before = load_study("run", storage)
    with pytest.raises(ReplayError, match="seed 3"):
        Study(SPACE, seed=4, resume=True, **options)
    with Study(SPACE, seed=3, resume=True, **options) as study, pytest.raises(ReplayError, match="evaluation 6"):
        simple(study, objective)
    with pytest.raises(InputError, match="exists already"):
        Study(SPACE, seed=3, **options)
    assert load_study("run", storage) == before


def test_budgets_and_notes_are_kept(storage: str) -> None:
    options = {"name": "run", "storage": storage, "seed": 3}
    with Study(SPACE, max_evaluations=8, **options) as study, pytest.raises(BudgetSpent, match="after 8 evaluations"):
        truncation(study, objective)
    note("run", storage, "final", {"loss": 0.5})
    assert load_study("run", storage).attributes["final"] == {"loss": 0.5}
    with pytest.raises(InputError, match=r"no study named 'ruin'.*Did you mean 'run'"):
        load_study("ruin", storage)


def test_a_study_is_deleted_once_nobody_runs_it(storage: str) -> None:
    with Study(SPACE, name="other", storage=storage, seed=3) as study:
        truncation(study, objective)
    with Study(SPACE, name="run", storage=storage, seed=3) as study:
        truncation(study, objective)
        with pytest.raises(InputError, match="Another process is running the study 'run'"):
            delete_study("run", storage)
    delete_study("run", storage)
    with pytest.raises(InputError, match=r"no study named 'run'"):
        delete_study("run", storage)
    assert study_names(storage) == ["other"]
    assert len(load_study("other", storage).entries) == len(study.record)
    with Study(SPACE, name="run", storage=storage, seed=4) as study:
        truncation(study, objective)


def test_a_second_driver_is_refused_until_the_first_is_gone(storage: str) -> None:
    with Study(SPACE, name="run", storage=storage):
        with pytest.raises(InputError, match=r"Another process is running the study 'run' in .*\. Wait for it"):
            Study(SPACE, name="run", storage=storage, resume=True)
        with pytest.raises(InputError, match="Another process"):
            note("run", storage, "final", 1)
        Study(SPACE, name="other", storage=storage).close()
    Study(SPACE, name="run", storage=storage, resume=True).close()


# A server.

SECRET = "pass/wo?rd@9"
ESCAPED = "pass%2Fwo%3Frd%409"


@needs_postgres
@pytest.mark.parametrize("what", ["password", "port", "database"])
def test_a_server_that_refuses_is_told_without_the_password(what: str, postgres: str, caplog: Any, capfd: Any) -> None:
    user, host, database = "deap", postgres.rpartition("@")[2].partition("/")[0], postgres.rpartition("/")[2]
    url = {
        "password": f"postgresql://{user}:{ESCAPED}@{host}/{database}",
        "port": f"postgresql://{user}:{ESCAPED}@127.0.0.1:1/{database}",
        "database": f"{postgres}_x",
    }[what]
    with pytest.raises(InputError, match=r"could not be reached or refused") as refusal:
        Study(SPACE, storage=url)
    _nothing_told(str(refusal.value) + caplog.text + "".join(capfd.readouterr()))
    assert refusal.value.__cause__ is None


@needs_postgres
def test_no_record_log_or_error_holds_the_password(postgres: str, caplog: Any, capfd: Any) -> None:
    caplog.set_level("DEBUG")
    with Study(SPACE, name="run", storage=postgres, seed=3) as study:
        truncation(study, objective)
        with pytest.raises(InputError) as refusal:
            Study(SPACE, name="run", storage=postgres, resume=True)
    engine = sqlalchemy.create_engine(server_url(postgres))
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        held = [str(connection.execute(sqlalchemy.text(f"SELECT * FROM {table}")).all()) for table in tables]
    engine.dispose()
    _nothing_told("".join(held) + str(refusal.value) + caplog.text + "".join(capfd.readouterr()))


@needs_postgres
def test_a_run_from_the_command_line_tells_no_password(
    postgres: str, tmp_path: Path, monkeypatch: Any, no_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)
    done = call("run", "small.toml", "--name", "run", "--storage", postgres)
    assert done.exit_code == 0, done.output
    option = f"--storage {without_password(postgres)}"
    assert f"deap-hpo resume run {option}" in done.output
    recorded = load_study("run", postgres)
    assert "storage" not in recorded.attributes["config"]["study"]
    files = "".join(str(path) for path in tmp_path.rglob("*"))
    _nothing_told(done.output + repr(recorded.attributes) + files)
    monkeypatch.setenv("DEAP_HPO_STORAGE", postgres)
    again = call("resume", "run")
    assert again.exit_code == 0, again.output
    assert "--storage" not in again.output


def _nothing_told(text: str) -> None:
    password = sqlalchemy.make_url(POSTGRES or "").password
    for secret in (SECRET, ESCAPED, "rd@9", "rd%409", str(password)):
        assert secret not in text


def test_a_killed_driver_lets_go_of_the_server_lock(server: str, tmp_path: Path) -> None:
    code = (
        "import sys, time; from deap_hpo.records.driver_lock import DriverLock; "
        "lock = DriverLock(sys.argv[1], 'run'); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, server], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="Another process"):
        DriverLock(server, "run")
    holder.kill()
    holder.communicate()
    deadline = time.monotonic() + 10
    while True:
        try:
            DriverLock(server, "run").release()
            break
        except InputError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@needs_mysql
def test_the_lock_of_mysql_is_of_one_study_in_one_database(mysql: str) -> None:
    with new_database(MYSQL or "") as other:
        locks = [DriverLock(*one) for one in ((mysql, "run"), (mysql, "other"), (other, "run"))]
        assert all(lock.keeps_others_out for lock in locks)
        for lock in locks:  # a server ends idle sessions, and their locks, after eight hours
            assert lock._connection.execute(sqlalchemy.text("SELECT @@SESSION.wait_timeout")).scalar() == 31536000
        for lock in locks:
            lock.release()


@needs_mysql
def test_mysql_refuses_to_write_where_it_is_only_read(mysql: str) -> None:
    Study(SPACE, name="run", storage=mysql).close()
    storage = open_storage(mysql, read_only=True)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        optuna.create_study(storage=storage, study_name="other")
    close_storage(storage)


@needs_mysql
def test_names_that_are_one_to_mysql_have_one_lock(mysql: str) -> None:
    with Study(SPACE, name="run", storage=mysql), pytest.raises(InputError, match="Another process is running"):
        DriverLock(mysql, "Run")


@needs_mysql
def test_a_user_of_mysql_who_may_not_change_tables_can_record(mysql: str) -> None:
    close_storage(RDBStorage(server_url(mysql)))

    def refuse(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("ALTER"):
            raise sqlalchemy.exc.OperationalError(statement, None, Exception("ALTER command denied"))

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", refuse)
    try:
        study = optimize(objective, SPACE, storage=mysql, max_evaluations=2, progress=False)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", refuse)
    assert len(study.entries) == 2


@needs_mysql
def test_long_learning_curves_fit_into_new_tables_of_mysql(mysql: str) -> None:
    def training(params: dict[str, Any], report: Any) -> float:
        for epoch in range(700):
            report(epoch, params["x"], accuracy=params["x"] / 3)
        return float(params["x"])

    options: Any = {"space": SPACE, "max_evaluations": 1, "progress": False}
    study = optimize(training, storage=mysql, **options)
    assert [len(entry.evaluation.curve) for entry in load_study("study", mysql).entries] == [700]
    assert study.best_params == load_study("study", mysql).best_params
    with new_database(MYSQL or "") as other:
        optuna.create_study(storage=server_url(other), study_name="made elsewhere")
        with pytest.raises(InputError, match=r"Data too long.* may need `ALTER TABLE"):
            optimize(training, storage=other, **options)
        engine = sqlalchemy.create_engine(server_url(other))
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("ALTER TABLE trial_user_attributes MODIFY value_json LONGTEXT"))
        engine.dispose()
        assert len(optimize(training, storage=other, resume=True, **options).entries) == 1


@pytest.mark.parametrize(
    ("url", "installed", "expected"),
    [
        ("postgres://db/s", True, "postgresql+psycopg://db/s"),
        ("postgresql://db/s", False, "postgresql://db/s"),
        ("mysql://db/s", True, "mysql+pymysql://db/s"),
        ("mariadb://db/s", True, "mariadb+pymysql://db/s"),
        ("mysql+mysqldb://db/s", True, "mysql+mysqldb://db/s"),
        ("oracle://db/s", True, "oracle://db/s"),
    ],
)
def test_servers_are_reached_by_the_drivers_of_the_extras(
    url: str, installed: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deap_hpo.records.storage.find_spec", lambda name: installed or None)
    assert server_url(url) == expected


@pytest.mark.parametrize(
    ("url", "as_shown"),
    [
        (f"postgresql://ada:{SECRET}@db/studies", "postgresql://..."),
        (f"postgresql://ada:{ESCAPED}@db/studies", "postgresql://db/studies"),
        ("postgresql://db/studies?sslpassword=se@cret", "postgresql://..."),
        (f"mysql+pymysql://ada:{ESCAPED}@db:3306/studies?ssl_key={ESCAPED}", "mysql+pymysql://db:3306/studies"),
        ("postgresql://db/studies", "postgresql://db/studies"),
        ("runs/a@b.db", "runs/a@b.db"),
        ("sqlite:///runs/a.db", "sqlite:///runs/a.db"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, as_shown: str) -> None:
    assert without_password(url) == as_shown


@pytest.mark.parametrize("url", [f"postgresql:/ada:{SECRET}@db/x", f"nosuch://ada:{SECRET}@db/x", "x+y://:::/"])
def test_urls_that_are_none_are_refused_without_the_password(url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        open_storage(url)
    assert "rd@9" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_what_was_noted_before_anything_was_evaluated_may_change(storage: str) -> None:
    with Study(SPACE, name="run", storage=storage, seed=3):
        pass
    with Study(SPACE, name="run", storage=storage, seed=4, resume=True) as study:
        truncation(study, objective)
    with pytest.raises(ReplayError, match="recorded with seed 4, and cannot be continued with 3"):
        Study(SPACE, name="run", storage=storage, seed=3, resume=True)


def test_genes_have_no_names_so_the_order_of_the_hyperparameters_is_kept(storage: str) -> None:
    space = Space({"lr": Float(1e-4, 1.0, log=True), "momentum": Float(0.0, 0.9)})
    turned = Space(dict(reversed(list(space.items()))))
    with Study(space, name="run", storage=storage, seed=3) as study:
        study.map(lambda params: params["lr"], [[0.5, 0.25]])
    with pytest.raises(ReplayError, match="recorded with the hyperparameters in the order lr, momentum, and cannot be"):
        Study(turned, name="run", storage=storage, seed=3, resume=True)
    Study(space, name="run", storage=storage, seed=3, resume=True).close()


def test_a_refused_study_is_free_again(storage: str) -> None:
    with Study(SPACE, name="run", storage=storage, pruner=MedianPruner()) as study:
        simple(study, objective)
    with pytest.raises(ReplayError, match="recorded with pruner") as kept:  # keeps the traceback, as a prompt does
        Study(SPACE, name="run", storage=storage, resume=True)
    Study(SPACE, name="run", storage=storage, pruner=MedianPruner(), resume=True).close()
    assert kept.tb is not None


# A file.


def test_commits_reach_the_disk_before_they_are_acknowledged(tmp_path: Path) -> None:
    storage = open_storage(f"{tmp_path}/a.db")
    assert isinstance(storage, RDBStorage)
    with storage.engine.connect() as connection:
        full = 2  # "FULL": the log is synchronised at every commit; with less, a power failure may lose the last ones
        assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == full
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"


@pytest.mark.parametrize("cut", [0, 50, 4096, 20_000, -1])
def test_a_truncated_file_is_told_and_left_as_it_is(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Study(SPACE, name="run", storage=str(path), seed=3) as study:
        truncation(study, objective)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:cut])
    before = path.read_bytes()
    for use in (lambda: load_study("run", str(path)), lambda: Study(SPACE, name="run", storage=str(path))):
        with pytest.raises(InputError, match=r"(is not an intact SQLite database .* left as it is|is an empty file)"):
            use()
    assert path.read_bytes() == before


def test_wherever_a_file_is_cut_off_one_line_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Study(SPACE, name="run", storage=str(path), seed=3) as study:
        truncation(study, objective)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    for cut in [*range(0, len(whole), 1009), *range(len(whole) - 4096, len(whole), 127)]:
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError) as error:
            open_storage(str(path))
        assert len(str(error.value).splitlines()) == 1, cut
        assert path.read_bytes() == whole[:cut]


def test_tables_of_another_optuna_are_refused_each_time_and_its_migrations_are_read_once(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study(SPACE, name="run", storage=storage, seed=3) as study:
        truncation(study, objective)
    load_study("run", storage)
    other = f"{tmp_path}/other.db"
    close_storage(open_storage(other))
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.0.0'")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no longer compatible with the table schema"):
            open_storage(other)
    monkeypatch.setattr("optuna.storages._rdb.storage._VersionManager.get_head_version", None)
    assert len(load_study("run", storage).entries) == len(study.record)


def test_a_path_is_taken_as_a_path_too(tmp_path: Path) -> None:
    with Study(SPACE, name="run", storage=tmp_path / "a.db", seed=3) as study:
        truncation(study, objective)
    assert len(load_study("run", tmp_path / "a.db").entries) == len(study.record)
    assert study_names(tmp_path / "a.db") == ["run"]


@pytest.mark.parametrize("storage", ["~/x/a.db", "sqlite:///~/x/a.db"])
def test_the_home_folder_may_be_a_tilde(storage: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with Study(SPACE, name="run", storage=storage, seed=3) as study:
        truncation(study, objective)
        with pytest.raises(InputError, match="Another process"):
            DriverLock(str(tmp_path / "home" / "x" / "a.db"), "run")
    assert len(load_study("run", storage).entries) == len(study.record)
    assert run_folder("run", storage) == tmp_path / "home" / "x" / "run@a"
    FolderCheckpoints("~/kept").save({})
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["kept", "x"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    for use in (lambda: Study(SPACE, storage=tmp_path), lambda: load_study("run", tmp_path)):
        with pytest.raises(InputError, match=rf"^storage must be the path of a file, such as .*{tmp_path} is a folder"):
            use()


def test_a_question_mark_in_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without '\?'"):
        Study(SPACE, storage=f"{tmp_path}/what?.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    with pytest.raises(InputError, match="not an intact SQLite database"):
        Study(SPACE, storage=str(path))
    assert path.read_text() == "not a database\n" * 100


def test_reading_a_record_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no record at"):
        load_study("run", f"{tmp_path}/a.db")
    assert list(tmp_path.iterdir()) == []
    Study(SPACE, name="run", storage=f"{tmp_path}/b.db").close()
    with pytest.raises(InputError, match=r"no record at \S*a.db, but at \S*b.db \(--storage \S*b.db\)"):
        load_study("run", f"{tmp_path}/a.db")


def test_files_are_made_with_the_users_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with Study(SPACE, name="run", storage=f"{tmp_path}/new/a.db", seed=3) as study:
            truncation(study, objective)
            modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*")}
    finally:
        os.umask(before)
    assert modes == {(False, 0o600), (True, 0o700)}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["../a", "a/b", "/a", "..", ".a", "a\0b", "", "a" * 101, "a b", "-a"])
def test_a_study_name_cannot_lead_out_of_its_folder(name: str, tmp_path: Path) -> None:
    for use in (
        lambda: Study(SPACE, name=name, storage=f"{tmp_path}/a.db"),
        lambda: note(name, f"{tmp_path}/a.db", "final", 1),
    ):
        with pytest.raises(InputError, match=r"name must be|There is no record"):
            use()


def test_a_database_that_breaks_in_use_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"{tmp_path}/a.db"

    def broken(*_: Any, **__: Any) -> Any:
        raise optuna.exceptions.StorageInternalError("disk I/O error")

    with Study(SPACE, name="run", storage=storage) as study:
        monkeypatch.setattr(RDBStorage, "set_study_user_attr", broken)
        with pytest.raises(
            InputError, match=r"^The record of the study 'run' could not be used: disk I/O error\. What"
        ):
            study.provenance.note("config", {})
        monkeypatch.setattr(RDBStorage, "get_study_user_attrs", broken)
        with pytest.raises(
            InputError, match=r"^The record of the study 'run' could not be used: disk I/O error\. What"
        ):
            study.record.check("config", {})
    monkeypatch.setattr(RDBStorage, "get_all_studies", broken)
    with pytest.raises(InputError, match=r"^The list of studies could not be used: disk I/O error\."):
        study_names(storage)


def test_a_lock_whose_file_the_holder_takes_away_at_that_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, taken = fcntl.flock, []

    def late(file: Any, operation: int) -> None:
        if not taken:  # the previous holder has let go between the opening and the locking
            taken.append(Path(file.name))
            Path(file.name).unlink()
        true(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = DriverLock(f"{tmp_path}/a.db", "run")
    assert lock.keeps_others_out
    assert taken[0].exists()
    with pytest.raises(InputError, match="Another process is running the study"):
        DriverLock(f"{tmp_path}/a.db", "run")
    lock.release()
    assert not DriverLock(None, "run").keeps_others_out


def test_optuna_is_as_talkative_as_the_user_wants_it_and_silent_about_our_studies() -> None:
    program = (
        "import optuna; optuna.logging.set_verbosity(optuna.logging.DEBUG)\n"
        "from deap_hpo import Float, Study; from deap_hpo.analysis import impact\n"
        "Study({'x': Float(0.0, 1.0)})\n"
        "assert optuna.logging.get_verbosity() == optuna.logging.DEBUG\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


FULL_DISK = """
    import resource, signal, sys
    from deap_hpo import Float, optimize

    # No file may become larger: what SQLite meets on a disk that is full.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    optimize(lambda params: params["x"], {"x": Float(0, 1)}, storage=sys.argv[1], algorithm="random")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("limit", [0, 20_000, 90_000])
def test_a_record_that_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path, limit: int) -> None:
    record = tmp_path / "full" / "studies.db"
    (tmp_path / "script.py").write_text(textwrap.dedent(FULL_DISK))
    command = [sys.executable, str(tmp_path / "script.py"), str(record), str(limit)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "InputError: The record" in ended.stderr.splitlines()[-1]
    assert "could not be created" in ended.stderr.splitlines()[-1]
    assert list(record.parent.iterdir()) == []
    options: Any = {"algorithm": "random", "population": 2, "generations": 2, "progress": False}
    again = optimize(lambda params: params["x"], {"x": Float(0, 1)}, storage=record, resume=True, **options)
    assert len(again.entries) == 4


def test_a_record_is_read_where_nothing_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"{tmp_path}/an archive/studies.db"
    space = {"x": Float(0.0, 1.0)}
    made = optimize(lambda params: params["x"], space, storage=storage, population=3, generations=1, algorithm="random")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in Path(storage).parent.iterdir())
    assert load_study("study", storage).best_value == made.best_value
    assert study_names(storage) == ["study"]
    assert call("show", "study", "--storage", storage).exit_code == 0
    assert sorted((path.name, path.stat().st_mtime_ns) for path in Path(storage).parent.iterdir()) == before
    for use in (lambda: Study(storage=storage, resume=True), lambda: delete_study("study", storage)):
        with pytest.raises(InputError, match="must be in a folder, and be a file, that you may read and write"):
            use()


def test_a_copy_with_a_log_that_nobody_can_read_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, copied = tmp_path / "studies.db", tmp_path / "archive" / "studies.db"
    copied.parent.mkdir()
    with Study(storage=storage) as study:  # as `kill -9` leaves it: the last writes are in the log
        study.map(lambda genome: genome[0], [Individual([0.5])])
        for ending in ("", "-wal"):
            shutil.copy(f"{storage}{ending}", f"{copied}{ending}")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode))
    assert len(load_study("study", copied).entries) == 1
    # On a read-only mount, SQLite cannot make the log's index, and raises the same error as for a missing file.
    monkeypatch.setattr("deap_hpo.records.sqlite_file.unwritable_uri", lambda path: f"file:{tmp_path}/nowhere?mode=ro")
    with pytest.raises(InputError, match=r"has a write-ahead log .* Copy both into a folder that you may write to"):
        load_study("study", copied)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="where open files can be counted")
def test_no_file_of_a_record_stays_open(tmp_path: Path) -> None:
    storage = f"{tmp_path}/studies.db"

    def still_open() -> list[str]:
        links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return [str(link) for link in links if str(link).startswith(storage)]

    for name in ("a", "b"):
        optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, storage=storage, name=name, max_evaluations=2)
    study = load_study("a", storage)
    closed = optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, storage=storage, name="c", max_evaluations=2)
    assert len(closed.trials_dataframe()) == len(study.trials_dataframe()) == 2
    assert repr(closed).startswith("<Study 'c': 2 evaluations")
    note("a", storage, "final", 1)
    delete_study("a", storage)
    assert study_names(storage) == ["b", "c"]
    assert call("list", "--storage", storage).exit_code == 0
    assert still_open() == []


def test_a_closed_study_can_be_asked_when_its_record_is_gone(tmp_path: Path) -> None:
    storage = f"{tmp_path}/studies.db"
    for _ in range(2):
        study = optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, storage=storage, max_evaluations=2)
        for path in tmp_path.iterdir():
            path.unlink()
        assert len(study.trials_dataframe()) == 2
        assert study.attributes["seed"] == 0
        assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_told_with_commands_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)
    for storage, option in (("runs/studies.db", ""), ("mine.db", " --storage mine.db")):
        assert call("run", "small.toml", "--storage", storage, "--set", "evolution.generations=1").exit_code == 0
        refused = call("run", "small.toml", "--storage", storage).stderr
        assert f"Resume it (`deap-hpo resume small{option}`), delete it (`deap-hpo delete small{option}`, or" in refused


def test_where_no_name_is_near_the_studies_are_named(storage: str) -> None:
    with pytest.raises(InputError, match=r"There is no record|The record is empty"):
        load_study("anything", storage)
    for i in range(8):
        with Study(SPACE, name=f"run_{i}", storage=storage, seed=3) as study:
            study.map(objective, [[0.5] * len(SPACE)])
    with pytest.raises(InputError, match=r"There are: run_0, run_1, run_2, run_3, run_4, run_5, \.\.\."):
        load_study("another", storage)
