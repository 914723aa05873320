"""Blocks of a network that wait in host memory and visit the device when it is their turn.

Nothing of the network changes; hooks bring the weights of a block, and start to bring those of the next one while it
computes.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

PIECE = 1 << 28  # bytes of page-locked memory that are taken at once
ALIGNMENT = 256  # bytes


class Offload:
    """Keeps some of the blocks of a network on a device, spread evenly, and streams the others.

    All blocks run one after the other. At most two streamed ones are on the device at a time. `keep` may be called
    again between calls of the network, which may lie anywhere at first; if memory runs out in it, the blocks that have
    moved by then are streamed. The network does not keep this object alive, which has to stay as long as it runs.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device):
        self.blocks, self.device = list(blocks), device
        self.streamed: list[int] = []
        self._home: dict[int, list[Tensor]] = {}  # weights of streamed blocks in host memory
        self._here: dict[int, tuple[list[Tensor], object]] = {}  # copies on the device, and the event that ends copying
        self._stream = torch.get_device_module(device).Stream(device) if device.type in ("cuda", "xpu") else None
        self._shelf = Shelf(is_locked=self._stream is not None)
        enter, leave = weakref.WeakMethod(self._enter), weakref.WeakMethod(self._leave)  # else it would be a cycle
        for index, block in enumerate(self.blocks):
            block.register_forward_pre_hook(functools.partial(_hook, enter, index))
            block.register_forward_hook(functools.partial(_hook, leave, index), always_call=True)

    @property
    def visiting(self) -> int:
        """Streamed blocks whose weights are on the device now."""
        return len(self._here)

    def keep(self, resident: int) -> None:
        """Let so many blocks stay on the device."""
        self._here.clear()
        away = streamed(len(self.blocks), resident)
        try:
            for index, block in enumerate(self.blocks):
                if index in away:
                    if index not in self._home:
                        self._home[index] = [self._shelf.put(x.data) for x in _weights(block)]
                        _assign(block, self._home[index])
                else:
                    block.to(self.device)
                    self._home.pop(index, None)
        finally:
            self.streamed = sorted(self._home)

    def _enter(self, index: int, block: nn.Module, *_: object) -> None:
        if index in self._home:
            self._fetch(index)
            copies, event = self._here[index]
            if event is not None:
                torch.get_device_module(self.device).current_stream(self.device).wait_event(event)
            _assign(block, copies)
        following = next((i for i in self.streamed if i > index), None)
        if following is not None:
            self._fetch(following)

    def _leave(self, index: int, block: nn.Module, *_: object) -> None:
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


class Shelf:
    """Host memory for many tensors in few pieces: of page-locked memory, which copies beside computation need, PyTorch
    takes powers of two.
    """

    def __init__(self, *, is_locked: bool):
        self.is_locked = is_locked
        self._piece = torch.empty(0, dtype=torch.uint8, device="cpu")  # the part of the newest piece that is free

    def put(self, x: Tensor) -> Tensor:
        """A copy of a tensor."""
        size = _aligned(x)
        if size > len(self._piece):
            self._piece = self._begun(_piece(size))
        home, self._piece = self._piece[: x.nbytes], self._piece[size:]
        return home.view(x.dtype).view(x.shape).copy_(x)

    def _begun(self, size: int) -> Tensor:
        if self.is_locked:
            try:
                return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)
            except RuntimeError:  # systems lock only a part of their memory, and copies from the rest are only slower
                self.is_locked = False
        return torch.empty(size, dtype=torch.uint8, device="cpu")


def shelf_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the pieces in which a `Shelf` puts tensors, in this order."""
    total = free = 0
    for size in map(_aligned, tensors):
        if size > free:
            free = _piece(size)
            total += free
        free -= size
    return total


def _hook(method: weakref.WeakMethod, *arguments: object) -> None:
    if (call := method()) is not None:
        call(*arguments)


def place(network: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> Offload:
    """Put a network on a device, but none of its `blocks`, which wait for `keep`."""
    inside = {id(x) for block in blocks for x in _weights(block)}
    for module in network.modules():
        for x in _weights(module, recurse=False):
            if id(x) not in inside:
                x.data = x.data.to(device)
    return Offload(blocks, device)


def streamed(blocks: int, resident: int) -> list[int]:
    """Numbers of the blocks that do not stay: the others lie evenly between them, so that there is time to fetch."""
    away = max(0, blocks - resident)
    return [i for i in range(blocks) if (i + 1) * away // blocks > i * away // blocks]


class Streamed(NamedTuple):
    """Bytes of blocks that are streamed: of their weights, of the most that are on the device at a time, and of the
    page-locked memory of the host in which they wait.
    """

    weights: int
    visiting: int
    locked: int


def streamed_bytes(blocks: Sequence[nn.Module], resident: int) -> Streamed:
    """What streaming all blocks but `resident` ones takes."""
    away = [_weights(blocks[i]) for i in streamed(len(blocks), resident)]
    sizes = [sum(x.nbytes for x in weights) for weights in away]
    locked = shelf_bytes(x for weights in away for x in weights)
    return Streamed(sum(sizes), max((sum(sizes[i : i + 2]) for i in range(len(sizes))), default=0), locked)


def _aligned(x: Tensor) -> int:
    """Bytes of a tensor, so that the next one begins where any type may."""
    return -(-x.nbytes // ALIGNMENT) * ALIGNMENT


def _piece(size: int) -> int:
    """Bytes of the piece that is begun for a tensor of an aligned size."""
    return max(PIECE, 1 << (size - 1).bit_length())


def _weights(module: nn.Module, *, recurse: bool = True) -> list[Tensor]:
    return [*module.parameters(recurse), *module.buffers(recurse)]


def _assign(block: nn.Module, values: Sequence[Tensor]) -> None:
    for x, value in zip(_weights(block), values, strict=True):
        x.data = value
