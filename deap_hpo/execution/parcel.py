"""How objects are sent to worker processes: by name if workers can import them, else by value; tensors are shared.

Plain pickle sends functions and classes by name only. Lambdas and local functions have no name by which they can be
found. Definitions in a notebook, at a prompt, in ``python -c`` or in a script from standard input have one, but in a
module that other processes do not find. All these are sent by value, together with what they use of that module.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from deap_hpo.evaluation import Request

NOT_SENDABLE = (pickle.PicklingError, AttributeError, TypeError, ValueError, RuntimeError)

_PASSED_AT_THE_START = ("multiprocessing", "socket", "torch")  # shared memory and handles


def pack(content: Any) -> bytes:
    """Pickle an object for a worker, which unpickles it by `pickle.loads`.

    Raises:
        NOT_SENDABLE: Some part of it belongs to this process, such as a lock.

    Example:
        >>> pickle.loads(pack(lambda x: x + 1))(2)
        3
    """
    packed = io.BytesIO()
    _Pickler(packed).dump(content)
    return packed.getvalue()


def pack_for_running(content: Any) -> bytes | None:
    """Pickle an object as a `Parcel` for workers that are running.

    Returns:
        None if it cannot be sent, or only to a worker that starts: tensors, for example, would no longer be shared.

    Example:
        >>> import torch
        >>> pickle.loads(pack_for_running(lambda x: x + 1)).open()(2)
        3
        >>> pack_for_running(torch.ones(3)) is None
        True
    """
    packed = io.BytesIO()
    try:
        _Pickler(packed, running=True).dump(content)
    except Exception:  # sending it to a worker that starts reports what is wrong
        return None
    return pickle.dumps(Arrived(packed.getvalue()))


def pack_requests(requests: Sequence[Request]) -> bytes:
    """Pickle requests for a worker: like `pack`, but in a third of the time where possible, because there are many.

    Raises:
        NOT_SENDABLE: Some part of a request belongs to this process.

    Example:
        >>> pickle.loads(pack_requests([Request(0, {"x": 3.0}, seed=0)]))[0].params
        {'x': 3.0}
    """
    if _imported_main():
        with suppress(*NOT_SENDABLE):
            return bytes(ForkingPickler.dumps(requests))
    return pack(requests)


class Parcel:
    """An object that is unpickled only when it is opened, so that a failure is reported and does not end the process.

    Example:
        >>> arrived = pickle.loads(pickle.dumps(Parcel(lambda x: x + 1)))
        >>> arrived.open()(2)
        3
    """

    def __init__(self, content: Any) -> None:
        self._content = content

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled while the worker is started, because torch then passes tensors by shared memory, without a copy.
        return Arrived, (pack(self._content),)


class Arrived:
    """A parcel that has arrived."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self) -> Any:
        """Give the object."""
        return pickle.loads(self._data)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, *, running: bool = False) -> None:
        # In multiprocessing's table, torch says how tensors are shared. The pickler reads the table when it is made.
        tables = cloudpickle.Pickler.dispatch_table, ForkingPickler(io.BytesIO()).dispatch_table
        self.dispatch_table = ChainMap(*tables)
        super().__init__(file)
        self._main = _imported_main()
        self._running = running

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if self._running and kind.__module__.partition(".")[0] in _PASSED_AT_THE_START:
            raise pickle.PicklingError(f"{kind.__name__} is passed to a process while it starts")
        if issubclass(kind, (type, FunctionType)) and self._is_found(obj):
            return NotImplemented  # by its name
        if issubclass(kind, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
            # cloudpickle would send the file's content, so each worker would read for itself what is read once here.
            raise pickle.PicklingError(f"cannot pickle the open file {obj.name!r}")
        return super().reducer_override(obj)

    def _is_found(self, obj: Any) -> bool:
        """Tell whether it is found in the workers' main module, too; by value it would be a different object there."""
        if self._main is None or obj.__module__ != "__main__":
            return False
        with suppress(AttributeError):
            return attrgetter(obj.__qualname__)(self._main) is obj
        return False


def _imported_main() -> ModuleType | None:
    """Give the main module if workers import it, too: not if it grew at a prompt, or is in no file."""
    main = sys.modules["__main__"]
    if hasattr(sys, "ps1"):  # Python's prompt, IPython's, a notebook's, a development environment's
        return None
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:  # `multiprocessing` does not import the __main__.py of packages, folders and archives
        return None if name.rpartition(".")[2] == "__main__" else main
    file = getattr(main, "__file__", None)  # "<stdin>" is not a file
    return main if file is not None and os.path.exists(file) else None


@contextmanager
def importing_what_is_there() -> Iterator[None]:
    """Start processes inside that skip the main module, if they would not find it as it is here.

    Example:
        >>> with importing_what_is_there():
        ...     pass
    """
    names = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {}
    if not _imported_main():
        kept = {name: names[name] for name in ("__file__", "__spec__") if name in names}
    names.update(dict.fromkeys(kept))  # `multiprocessing` decides by them
    try:
        yield
    finally:
        names.update(kept)
