"""Blocks of a network that wait in host memory and visit the device when it is their turn.

Nothing of the network changes; hooks bring the weights of a block, and start to bring those of the next one while it
computes.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn


class Offload:
    """Keeps some of the blocks of a network on a device, spread evenly, and streams the others.

    All blocks run one after the other. At most two streamed ones are on the device at a time. `keep` may be called
    again between calls of the network, which may lie anywhere at first.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device, *, resident: int):
        self.blocks, self.device = list(blocks), device
        self.streamed: list[int] = []
        self._home: dict[int, list[Tensor]] = {}  # weights of streamed blocks in host memory
        self._here: dict[int, tuple[list[Tensor], object]] = {}  # copies on the device, and the event that ends copying
        self._stream = torch.get_device_module(device).Stream(device) if device.type in ("cuda", "xpu") else None
        for index, block in enumerate(self.blocks):
            block.register_forward_pre_hook(functools.partial(self._enter, index))
            block.register_forward_hook(functools.partial(self._leave, index), always_call=True)
        self.keep(resident)

    @property
    def visiting(self) -> int:
        """Streamed blocks whose weights are on the device now."""
        return len(self._here)

    def keep(self, resident: int) -> None:
        """Let so many blocks stay on the device."""
        self._here.clear()
        self.streamed = streamed(len(self.blocks), resident)
        for index, block in enumerate(self.blocks):
            if index in self.streamed:
                if index not in self._home:
                    self._home[index] = [self._to_host(x.data) for x in _weights(block)]
                    _assign(block, self._home[index])
            else:
                self._home.pop(index, None)
                block.to(self.device)

    def _to_host(self, x: Tensor) -> Tensor:
        # Page-locked memory is what copies beside computation need.
        return torch.empty_like(x, device="cpu", pin_memory=self._stream is not None).copy_(x)

    def _enter(self, index: int, block: nn.Module, _arguments: tuple) -> None:
        if index in self._home:
            self._fetch(index)
            copies, event = self._here[index]
            if event is not None:
                torch.get_device_module(self.device).current_stream(self.device).wait_event(event)
            _assign(block, copies)
        following = next((i for i in self.streamed if i > index), None)
        if following is not None:
            self._fetch(following)

    def _leave(self, index: int, block: nn.Module, _arguments: tuple, _result: object) -> None:
        if index in self._home:
            _assign(block, self._home[index])
            self._here.pop(index, None)

    def _fetch(self, index: int) -> None:
        if index in self._here:
            return
        with self._beside() as record:
            copies = [x.to(self.device, non_blocking=True, copy=True) for x in self._home[index]]
            self._here[index] = copies, record()

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Callable[[], object]]:
        if self._stream is None:
            yield lambda: None
            return
        module = torch.get_device_module(self.device)
        # The memory of a block that has left may be written again once the computation up to here is done.
        self._stream.wait_stream(module.current_stream(self.device))
        with module.stream(self._stream):
            yield self._stream.record_event


def place(network: nn.Module, blocks: Sequence[nn.Module], device: torch.device, *, resident: int) -> Offload:
    """Put a network on a device, but all of its `blocks` beyond `resident` into host memory."""
    inside = {id(x) for block in blocks for x in _weights(block)}
    for module in network.modules():
        for x in _weights(module, recurse=False):
            if id(x) not in inside:
                x.data = x.data.to(device)
    return Offload(blocks, device, resident=resident)


def streamed(blocks: int, resident: int) -> list[int]:
    """Numbers of the blocks that do not stay: the others lie evenly between them, so that there is time to fetch."""
    away = max(0, blocks - resident)
    return [i for i in range(blocks) if (i + 1) * away // blocks > i * away // blocks]


def streamed_bytes(blocks: Sequence[nn.Module], resident: int) -> tuple[int, int]:
    """Bytes of the blocks that wait in host memory, and the most of them that are on the device at a time."""
    sizes = [sum(x.nbytes for x in _weights(blocks[i])) for i in streamed(len(blocks), resident)]
    return sum(sizes), max((sum(sizes[i : i + 2]) for i in range(len(sizes))), default=0)


def _weights(module: nn.Module, *, recurse: bool = True) -> list[Tensor]:
    return [*module.parameters(recurse), *module.buffers(recurse)]


def _assign(block: nn.Module, values: Sequence[Tensor]) -> None:
    for x, value in zip(_weights(block), values, strict=True):
        x.data = value
