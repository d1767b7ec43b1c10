"""How the steps of a stack are run: one by one, or recorded once as a CUDA graph; and how their losses are watched.

A GPU finishes a kernel of a small network sooner than the host can ask for the next. A CUDA graph asks for a whole step
at once; and nothing between two steps may wait for the GPU, so losses are looked at some steps late.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deap_hpo.errors import InputError, warn

ENGINES = ("auto", "eager", "graph")
Step = Callable[[], None]


def resolve_engine(engine: str, device: torch.device) -> str:
    """Turn "auto" into an engine for the device: "graph" on CUDA, else "eager"; a CPU records no graphs.

    Raises:
        InputError: There is no such engine, or not on this device.

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
    """Check that there is such an engine, whatever the device.

    Raises:
        InputError: There is not.
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}.")


def make_step(engine: str, step: Step, host_state: Callable[[], object]) -> Step:
    """Give the step as the engine runs it; for `host_state`, see `RecordedStep`."""
    return RecordedStep(step, capture_cuda_graph, host_state) if engine == "graph" else step


class RecordedStep:
    """A step that runs a few times as it is, then is captured, and from then on replayed.

    Where capturing fails, it goes on as it is, and one warning says so. So it does where the step changes `host_state`,
    as a network does that counts its calls: a replay would compute with what was there when it was captured.

    Args:
        step: Works on the same tensors at every call, and changes its results in place.
        capture: Turns the step into one that replays it, without running it.
        host_state: Gives what the step reads of Python's objects.
    """

    # The first runs choose algorithms and allocate what is kept; neither may happen while a graph is captured.
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
        if self._calls == self.warm_up:  # The first calls may have set up what then stays.
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
    """Capture a step as a CUDA graph, and give what replays it.

    Raises:
        RuntimeError: The step does what a graph cannot hold: it waits for the device, or copies from the host.
    """
    torch.cuda.synchronize()
    current = torch.cuda.current_stream()
    # The default stream cannot be captured: another one of this GPU is, instead. Any other is captured itself, since
    # graphs of one stream share cuBLAS's work space, and those of several run at the same time.
    stream = _stream_to_capture() if current == torch.cuda.default_stream() else current
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            step()
    finally:
        # Where the step breaks the capture, torch would leave its caller on the stream that was captured.
        torch.cuda.set_stream(current)
    return graph.replay


_CAPTURED: dict[int, torch.cuda.Stream] = {}


def _stream_to_capture() -> torch.cuda.Stream:
    """Give the current GPU's stream for captures; torch's own is for all GPUs, but of the one that came first."""
    gpu = torch.cuda.current_device()
    if gpu not in _CAPTURED:
        _CAPTURED[gpu] = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return _CAPTURED[gpu]


class Watch:
    """Looks at losses without waiting for the device: what it tells may be some steps old.

    Args:
        device: Where the losses are.
        interval: Steps between two looks; None takes 50 on CUDA, where a look waits for the device, and 1 elsewhere.
    """

    def __init__(self, device: torch.device, interval: int | None = None) -> None:
        self._cuda = device.type == "cuda"
        self._interval = interval or (50 if self._cuda else 1)
        self._steps = 0
        self._seen: Tensor | None = None
        self._event = torch.cuda.Event() if self._cuda else None  # type: ignore[no-untyped-call]

    def finite(self, losses: Tensor) -> list[bool] | None:
        """Tell which entries of `losses` [P] were finite at the last look, or None where nothing new is known."""
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
