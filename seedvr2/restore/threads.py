"""Work beside the networks: reading ahead of them, and writing behind them, with a bounded number of frames waiting."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterator[Item], *, most: int = 4) -> Iterator[Item]:
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

    An exception of a call is raised at a later `call`, or at the end of the block.
    """

    def __init__(self, *, most: int = 4):
        self._most = most
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
        while len(self._waiting) >= self._most:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *arguments))

    def wait(self) -> None:
        """Until all calls are done. Raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()
