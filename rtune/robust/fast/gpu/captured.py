"""CUDA graphs: a function on a GPU is recorded once and replayed without Python between its kernels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from rtune.robust.random import LOCK

_Recording = tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]  # graph, arguments, result


class Captured:
    """A function of tensors that is recorded as a CUDA graph at the first call with arguments of a shape.

    A call returns the result in a tensor that the next call with the same shapes overwrites. It does not wait
    for the GPU. Several threads can each replay a graph of their own, on separate streams: their kernels run
    in parallel on one GPU, while those of several processes would take turns.

    Args:
        function: maps tensors on the GPU to a tensor. It must not wait for the GPU, and must update in place
            all state that its next call reads.
        changed: returns the tensors that the function updates; recording leaves them unchanged.
        noise: replaces the default generator of torch in the function.
        generators: other generators that the function uses.
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
            # Only one thread at a time: recording replaces the default generator of the device, and the first
            # run initialises the allocator.
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
            # Other threads may continue operations that are not allowed while recording.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                output = self._function(*inputs)
        return graph, inputs, output

    def _try(self, inputs: Sequence[Tensor]) -> None:
        """Runs the function once to compile kernels and initialise libraries, then restores all state."""
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
    """Context in which `generator` is the default generator of the device."""
    default = torch.cuda.default_generators[torch.cuda.current_device()]
    own = default.graphsafe_get_state()
    default.graphsafe_set_state(generator.graphsafe_get_state())
    try:
        yield
    finally:
        default.graphsafe_set_state(own)


@cache
def obstacle() -> str | None:
    """The reason why the GPU of this machine cannot train with `GPUEngine`, as a sentence; None if it can."""
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
