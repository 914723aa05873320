"""Work beside the networks: reading ahead of them, and writing behind them, with a bounded number of frames waiting."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.resize import Size

Item = TypeVar("Item")
QUEUE = 4  # items that wait, if nothing else is said
ROOM = 1 << 29  # bytes of float32 frames that may wait for an accelerator
_END = object()


def waiting_frames(size: Size, window: int, *, is_host: bool) -> int:
    """Frames of a size that should wait to be restored, and to be written, so that networks need not wait.

    An accelerator takes the frames of a window of latent frames in one burst, and gives them back in another; between
    those, reading and writing go on if a window of frames may wait.
    """
    fit = ROOM // (3 * 4 * size.height * size.width)
    return QUEUE if is_host else max(QUEUE, min(TIME * window, fit))


def ahead(items: Iterator[Item], *, most: int = QUEUE) -> Iterator[Item]:
    """The same items, made by a thread of their own that keeps up to `most` of them waiting.

    Its exceptions are raised here. It ends when this iterator is exhausted or closed.
    """
    waiting: queue.Queue = queue.Queue(most)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Behind:
    """Calls run one after the other in a thread of their own, at most `most` of them waiting; a context manager.

    An exception of a call is raised at a later `call`, or at the end of the block; calls after it do not run.
    """

    def __init__(self, *, most: int = QUEUE):
        self._most = most
        self._has_failed = False
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Run `function(*arguments)` after the calls before it."""
        while self._waiting and (len(self._waiting) >= self._most or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._run, function, *arguments))

    def _run(self, function: Callable[..., object], *arguments: object) -> None:
        if self._has_failed:
            return
        try:
            function(*arguments)
        except BaseException:
            self._has_failed = True
            raise

    def wait(self) -> None:
        """Until all calls are done. Raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()
