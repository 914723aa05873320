"""The ranks of a run that work together: the main one decides, reads, writes and speaks, the others follow it."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple, Self, TypeVar

import torch
import torch.distributed as dist

from seedvr2.errors import GRACE, UserError
from seedvr2.parallel.ending import dies_when_told, ends_when_told
from seedvr2.parallel.mesh import Parallelism

PATIENCE = timedelta(days=30)  # one rank may wait for another that restores a whole film

Result = TypeVar("Result")


def launched() -> int:
    """How many processes `torchrun` or `accelerate launch` started together; 1 without them."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """Whether this process tells the mistakes that all processes of its machine make alike."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


class Blank(NamedTuple):
    """Stands for a tensor that follows."""

    shape: torch.Size
    dtype: torch.dtype


class Crew:
    """This process among those of its run; a single one is a crew of its own.

    device: where its networks live, None if that is not settled. `works`: what all ranks can do together, by name.
    """

    def __init__(self, device: torch.device | None = None):
        self.world = launched()
        self.rank = dist.get_rank() if self.world > 1 else 0
        self.main, self.device = self.rank == 0, device
        self.works: dict[str, Callable] = {}
        # of its own: backends of GPUs carry no objects, and give up waiting after minutes
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE) if self.world > 1 else None
        self._turn = threading.Lock()
        self._is_busy = False

    @classmethod
    @contextlib.contextmanager
    def start(cls, *, cpu: bool) -> Iterator[Self]:
        """Bring this process up beside its peers, if it has some; cpu: on CPUs, else on a CUDA device each.

        Raises UserError if there are fewer devices than processes.
        """
        if launched() == 1:
            yield cls()
            return
        from seedvr2.parallel.runtime import Runtime  # brings accelerate, which takes seconds

        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if not cpu and torch.cuda.device_count() < here:
            raise UserError(
                f"{here} processes need a GPU each, and this machine has {torch.cuda.device_count()};"
                " start as many as there are (torchrun --nproc-per-node), or use --device cpu"
            )
        with ends_when_told():
            runtime = Runtime.start(Parallelism(), cpu=cpu)
            crew = cls(runtime.device)
            try:
                yield crew
            except (UserError, SystemExit):
                if not crew._is_busy:  # all ranks leave the block, else a peer may wait in the group for ever
                    runtime.stop()
                raise
            runtime.stop()

    def gathered(self, value: Result) -> list[Result]:
        """The values of all ranks, on every rank; anything that can be pickled."""
        found = [value] * self.world
        if self.world > 1:
            with _patiently():
                dist.all_gather_object(found, value, group=self._words)
        return found

    def agreed(self, function: Callable[[], Result]) -> Result:
        """Call a function on every rank. Raises on all of them the UserError of the first one that has one."""
        result, mistake = None, None
        try:
            result = function()
        except UserError as error:
            mistake = str(error)
        for rank, found in enumerate(self.gathered(mistake)):
            if found is not None:
                raise UserError(f"rank {rank}: {found}" if rank else found)
        return result

    def of_main(self, function: Callable[[], Result]) -> Result:
        """What a function gives on the main rank, on every rank; so with its UserError."""
        return self.gathered(self.agreed(function if self.main else lambda: None))[0]

    @contextlib.contextmanager
    def leading(self) -> Iterator[None]:
        """The block in which the main rank calls and the others follow."""
        try:
            yield
        finally:
            if not self._is_busy:  # else the others wait for something else, and the launcher ends them
                with contextlib.suppress(RuntimeError):  # they may have gone first
                    self._say(None)

    def call(self, name: str, *arguments: Any) -> Any:
        """Do a work on all ranks at once, with these arguments; the result is that of the main rank.

        A UserError of a work must be one that all ranks have.
        """
        with self._turn:
            assert not self._is_busy, "a work failed, so the ranks are no longer at the same place"
            self._is_busy = True
            try:
                with _patiently():
                    self._say((name, arguments))
                    result = self.works[name](*arguments)
            except UserError:
                self._is_busy = False
                raise
            self._is_busy = False
        return result

    def follow(self) -> None:
        """Do what the main rank calls, until its block ends. A signal ends the process at once."""
        self._is_busy = True
        with dies_when_told():
            while (asked := self._heard()) is not None:
                name, arguments = asked
                with _patiently(), contextlib.suppress(UserError):
                    self.works[name](*arguments)
        self._is_busy = False

    def _say(self, asked: tuple[str, tuple] | None) -> None:
        tensors = [part.contiguous() for part in asked[1] if isinstance(part, torch.Tensor)] if asked else []
        dist.broadcast_object_list([asked and (asked[0], tuple(map(_blank, asked[1])))], src=0, group=self._words)
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def _heard(self) -> tuple[str, tuple] | None:
        box = [None]
        try:
            dist.broadcast_object_list(box, src=0, group=self._words)
        except RuntimeError:  # the main rank is gone, and has said why
            sys.exit(1)
        if box[0] is None:
            return None
        name, arguments = box[0]
        filled = [
            torch.empty(part.shape, dtype=part.dtype, device=self.device) if isinstance(part, Blank) else part
            for part in arguments
        ]
        for part in filled:
            if isinstance(part, torch.Tensor):
                dist.broadcast(part, src=0)
        return name, tuple(filled)


def _blank(part: Any) -> Any:
    return Blank(part.shape, part.dtype) if isinstance(part, torch.Tensor) else part


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    """Let the process whose failure came first speak: what fails because a peer is gone is ended by the launcher."""
    try:
        yield
    except RuntimeError:
        time.sleep(GRACE)
        raise
