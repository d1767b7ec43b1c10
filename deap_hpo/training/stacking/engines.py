"""How the steps of a stack are run, one by one or recorded once as a CUDA graph, and how their losses are watched.

A GPU finishes a kernel of a small network before the host can launch the next one. A CUDA graph launches a whole step
at once. Nothing between two steps may wait for the GPU, so losses are read some steps late.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deap_hpo.errors import InputError, warn
from deap_hpo.training.hardware import steps_between_looks

ENGINES = ("auto", "eager", "graph")
Step = Callable[[], None]


def resolve_engine(engine: str, device: torch.device) -> str:
    """Turn "auto" into an engine for the device: "graph" on CUDA, else "eager", because a CPU records no graphs.

    Raises:
        InputError: There is no such engine, or the device does not support it.

    Example:
        >>> resolve_engine("auto", torch.device("cpu"))
        'eager'
    """
    check_engine(engine)
    if engine == "auto":
        return "graph" if device.type == "cuda" else "eager"
    if engine == "graph" and device.type != "cuda":
        raise InputError(f"engine 'graph' needs a CUDA device; the device is {device.type!r}.")
    return engine


def check_engine(engine: str) -> None:
    """Check that an engine exists, whatever the device.

    Raises:
        InputError: It does not exist.
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}.")


def make_step(engine: str, step: Step, host_state: Callable[[], object]) -> Step:
    """Give the step in the form that the engine runs; for `host_state`, see `RecordedStep`."""
    return RecordedStep(step, capture_cuda_graph, host_state) if engine == "graph" else step


class RecordedStep:
    """A step that first runs as it is a few times, is then captured, and from then on replayed.

    If the capture fails, the step continues to run as it is, and one warning says so. The same happens if the step
    changes `host_state`, as a network that counts its calls does: a replay would compute with the captured state.

    Args:
        step: Works on the same tensors at every call, and changes its results in place.
        capture: Makes a step that replays the given one, without running it.
        host_state: Gives the state in Python objects that the step reads.
    """

    # The first runs choose algorithms and allocate lasting memory; neither may happen during a capture.
    warm_up = 3

    def __init__(
        self, step: Step, capture: Callable[[Step], Step], host_state: Callable[[], object] = lambda: None
    ) -> None:
        self._step = step
        self._capture: Callable[[Step], Step] | None = capture
        self._host_state = host_state
        self._before: object = None
        self._calls = 0

    def __call__(self) -> None:
        """Run the step once."""
        self._calls += 1
        if self._calls == self.warm_up:  # earlier calls may have set up lasting state
            self._before = self._host_state()
        if self._capture is not None and self._calls > self.warm_up:
            capture, self._capture = self._capture, None
            try:
                if self._host_state() != self._before:
                    raise RuntimeError("attributes of the network or the loss change from step to step")
                self._step = capture(self._step)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                warn(f"the training step runs without a CUDA graph ({reason})")
        self._step()


def capture_cuda_graph(step: Step) -> Step:
    """Capture a step as a CUDA graph, and give a function that replays it.

    Raises:
        RuntimeError: The step does something that a graph cannot hold: it waits for the device or copies from the host.
    """
    torch.cuda.synchronize()
    current = torch.cuda.current_stream()
    # The default stream cannot be captured, so another one of this GPU is captured instead. Any other stream is
    # captured itself: graphs of one stream share cuBLAS's workspace, but those of several run at the same time.
    stream = _stream_to_capture() if current == torch.cuda.default_stream() else current
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            step()
    finally:
        # If the step breaks the capture, torch would leave its caller on the captured stream.
        torch.cuda.set_stream(current)
    return graph.replay


_CAPTURED: dict[int, torch.cuda.Stream] = {}


def _stream_to_capture() -> torch.cuda.Stream:
    """Give the current GPU's stream for captures; torch's own is a single one, on the GPU that came first."""
    gpu = torch.cuda.current_device()
    if gpu not in _CAPTURED:
        _CAPTURED[gpu] = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return _CAPTURED[gpu]


class Watch:
    """Watches losses without waiting for the device, so its answers may be some steps old.

    Args:
        device: Where the losses are.
        interval: Steps between two looks at the losses; None for `steps_between_looks`.
    """

    def __init__(self, device: torch.device, interval: int | None = None) -> None:
        self._cuda = device.type == "cuda"
        self._interval = interval or steps_between_looks(device)
        self._steps = 0
        self._seen: Tensor | None = None
        self._event = torch.cuda.Event() if self._cuda else None  # type: ignore[no-untyped-call]

    def finite(self, losses: Tensor) -> list[bool] | None:
        """Tell which entries of `losses` [P] were finite at the last look; None if nothing new is known."""
        self._steps += 1
        if self._seen is None and self._steps % self._interval == 0:
            self._seen = torch.empty(losses.shape, dtype=torch.bool, pin_memory=self._cuda)
            self._seen.copy_(torch.isfinite(losses), non_blocking=True)
            if self._event is not None:
                self._event.record()
        if self._seen is None or (self._event is not None and not self._event.query()):  # type: ignore[no-untyped-call]
            return None
        seen, self._seen = self._seen.tolist(), None
        return [bool(one) for one in seen]
