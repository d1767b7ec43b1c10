"""Optuna's dashboard on a record: a live web page, read-only and for this machine only."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy

from deap_hpo.errors import InputError
from deap_hpo.goals import names_of_objectives
from deap_hpo.records.storage import open_storage

LOOPBACK = "127.0.0.1"

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def make_server(storage: str, port: int = 8080) -> WSGIServer:
    """Make the server of the dashboard; ``serve_forever()`` runs it.

    It listens on loopback only, and answers read requests only. It opens the record's database read-only, while a run
    may continue to write to it.

    Args:
        storage: Path of an SQLite file that exists, or the URL of a database.
        port: Port to listen on; 0 takes a free one.

    Raises:
        InputError: The storage or the port cannot be used, or optuna-dashboard is not installed.

    Example::

        with make_server("runs/studies.db") as server:
            print(url_of(server))
            server.serve_forever()
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise InputError("The dashboard needs a further package: pip install 'deap-hpo[dashboard]'.") from None
    application = looking_only(wsgi(_with_names(open_storage(storage, must_exist=True, read_only=True))))
    try:
        server = _Server((LOOPBACK, port), _QuietHandler)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port} cannot be used ({error}). Give another one with --port, or 0 for any.") from None
    server.set_app(application)
    return server


def url_of(server: WSGIServer) -> str:
    """Return the address of the page."""
    return f"http://{LOOPBACK}:{server.server_address[1]}/dashboard/"


def looking_only(application: _Application) -> _Application:
    """Let through only requests that read and that are addressed to this machine."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # A foreign page may let its own name resolve to 127.0.0.1, to read from here: the Host header reveals it.
        if urlsplit("//" + environ.get("HTTP_HOST", "")).hostname not in (LOOPBACK, "localhost"):
            return _refuse(start_response, "403 Forbidden", "This page answers to 127.0.0.1 and localhost only.")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start_response, "405 Method Not Allowed", "The record can be looked at here, not changed.")
        return application(environ, start_response)

    return guarded


def _with_names(storage: BaseStorage) -> BaseStorage:
    """Make a storage return the names of objectives where the dashboard looks for them, unlike the record."""
    read = storage.get_all_studies

    def named() -> list[FrozenStudy]:
        studies = read()
        for study in studies:
            names = names_of_objectives(study.user_attrs, len(study.directions))
            study.system_attrs.setdefault("study:metric_names", names)  # as Study.set_metric_names writes it
        return studies

    storage.get_all_studies = named  # type: ignore[method-assign]
    return storage


def _refuse(start_response: Callable[..., Any], status: str, reason: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [reason.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As in http.server, but without looking up the machine's name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass
