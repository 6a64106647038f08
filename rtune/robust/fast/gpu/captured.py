"""A function on a GPU, recorded once and replayed as a CUDA graph: no Python between its kernels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from rtune.robust.random import LOCK

_Recording = tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]  # with its arguments and what it gives


class Captured:
    """A function of tensors, recorded as a graph for each shape of its arguments at its first use.

    A call returns the function's result, in a tensor that the next call of the same shape overwrites. It
    does not wait for the GPU. Several threads may each replay their own, on streams of their own: their
    kernels then run side by side on one GPU, where those of several processes would take turns.

    Args:
        function: of tensors on the GPU, to a tensor; it must not wait for the GPU, and must change in place
            every tensor that its next call should find changed.
        changed: gives the tensors that it changes. Recording leaves them as they were.
        noise: replaces torch's default generator in the function.
        generators: others that it draws from.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        changed: Callable[[], Sequence[Tensor]],
        noise: torch.Generator,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self._function = function
        self._changed = changed
        self._noise = noise
        self._generators = generators
        self._recorded: dict[tuple[torch.Size, ...], _Recording] = {}

    def __call__(self, *arguments: Tensor) -> Tensor:
        key = tuple(argument.shape for argument in arguments)
        if key not in self._recorded:
            # Recording replaces the device's default generator, and its first run sets up the allocator:
            # one thread at a time.
            with LOCK:
                self._recorded[key] = self._record(arguments)
        graph, inputs, output = self._recorded[key]
        torch._foreach_copy_(inputs, list(arguments))
        graph.replay()
        return output

    def _record(self, arguments: Sequence[Tensor]) -> _Recording:
        inputs = [argument.clone() for argument in arguments]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with _default_generator(self._noise):
            with torch.cuda.stream(stream):
                self._try(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            for generator in self._generators:
                graph.register_generator_state(generator)
            # Other threads may go on with what is not allowed in a recording.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                output = self._function(*inputs)
        return graph, inputs, output

    def _try(self, inputs: Sequence[Tensor]) -> None:
        """Runs the function once, to compile kernels and set up libraries; changes nothing."""
        generators = [self._noise, *self._generators]
        states = [generator.get_state() for generator in generators]
        before = [tensor.detach().clone() for tensor in self._changed()]
        self._function(*inputs)
        with torch.no_grad():
            for tensor, value in zip(self._changed(), before, strict=True):
                tensor.copy_(value)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@contextmanager
def _default_generator(generator: torch.Generator) -> Iterator[None]:
    """Context in which the device's default generator is this one."""
    default = torch.cuda.default_generators[torch.cuda.current_device()]
    own = default.graphsafe_get_state()
    default.graphsafe_set_state(generator.graphsafe_get_state())
    try:
        yield
    finally:
        default.graphsafe_set_state(own)


@cache
def obstacle() -> str | None:
    """A sentence on why this machine's GPU cannot train with `GPUEngine`; None if it can."""
    if torch.version.cuda is None:
        return "the kernels are for NVIDIA GPUs"
    major, minor = torch.cuda.get_device_capability()
    if major < 8:
        return f"{torch.cuda.get_device_name()} (compute capability {major}.{minor}) has no bfloat16"
    try:
        from rtune.robust.fast.gpu import kernels
    except ImportError:
        return "Triton is not installed"
    sums = torch.empty(2, device="cuda")
    try:
        kernels.moments[(1, 1)](torch.ones(16, device="cuda"), sums, 16, 1, 1, 16)
    except Exception as error:  # a missing or broken compiler may raise anything
        return f"Triton cannot compile here ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return None if sums.tolist() == [16, 16] else "Triton's kernels compute nonsense here"
