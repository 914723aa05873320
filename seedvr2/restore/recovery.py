"""Going on after memory ran out: the failed call is repeated with settings that need less and give the same result."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.memory import release
from seedvr2.models.vae.autoencoder import TIME, VideoVAE
from seedvr2.models.vae.causal import Carry, History
from seedvr2.models.vae.reach import look_back
from seedvr2.restore.events import Events
from seedvr2.restore.memory import is_out_of_memory
from seedvr2.restore.plan.settings import Settings

Result = TypeVar("Result")
_Run = Callable[[Tensor, History], Tensor]


class Retreat:
    """The settings of a run and the way down from them.

    less: what needs less and less memory than some settings and gives the same results. apply: puts settings into
    effect. `steps`: in words, what had to be changed.
    """

    def __init__(
        self,
        settings: Settings,
        less: Callable[[Settings], Iterator[Settings]],
        apply: Callable[[Settings], None],
        device: torch.device,
        events: Events,
    ):
        self._less_than, self._apply = less, apply
        self.device, self._events = device, events
        self.begin(settings)

    def begin(self, settings: Settings) -> None:
        """Start anew with these settings."""
        self.settings, self.steps = settings, []
        self._less = self._less_than(settings)
        self._apply(settings)

    def attempt(self, call: Callable[[], Result]) -> Result | None:
        """The result of a call, or None if memory ran out, for which there are other settings now.

        Raises UserError if there are none left.
        """
        try:
            return call()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            told = str(error).split("\n")[0]
        # Only here the frames of the failed call, and with them its tensors, are gone.
        release(self.device)
        self._step_down(told)
        return None

    def _step_down(self, told: str) -> None:
        # To the next settings that can be put into effect; the ones of now stay if there are none.
        for following in self._less:
            try:
                self._apply(following)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                continue
            step, self.settings = self.settings.change(following), following
            self.steps.append(step)
            self._events.say(f"note: memory ran out, going on with {step}", event="memory", step=step)
            return
        raise UserError(
            f"memory of {self.device} ran out even with the smallest settings ({told}); ask for a smaller "
            "--short-side or --window, use --weights int8, or end other programs"
        )


class SteadyGenerator:
    """A generator whose calls are repeated when memory ran out; one at a time, since its blocks may come and go.

    leave: called before a repetition, so that others leave the device as far as the settings of now let them.
    """

    def __init__(self, generator: nn.Module, retreat: Retreat, leave: Callable[[], None] | None = None):
        self.generator, self.retreat, self._leave = generator, retreat, leave
        self._lock = threading.Lock()

    def __call__(self, *arguments: object) -> Tensor:
        """As the generator's."""
        with self._lock:
            while (result := self.retreat.attempt(lambda: self.generator(*arguments))) is None:
                if self._leave is not None:
                    self._leave()
        return result


class SteadyCodec:
    """A codec whose calls are repeated when memory ran out, for streams; the chunk is that of the settings at most.

    A call that failed half-way has advanced the history of some layers, so the history is made again from the frames
    (or latents) before the chunk. Keeping those takes little; keeping histories twice would take gigabytes.
    """

    def __init__(self, codec: LatentCodec, retreat: Retreat):
        self.codec, self.vae, self.retreat = codec, codec.vae, retreat
        self._frames, self._latents = reaches(codec.vae)
        self._encoded: WeakKeyDictionary[History, _Past] = WeakKeyDictionary()
        self._decoded: WeakKeyDictionary[History, _Past] = WeakKeyDictionary()

    def encode(self, frames: Tensor, *, history: History, noise: Tensor | None = None) -> Tensor:
        """As that of `LatentCodec`, of a chunk of a clip."""
        past = self._encoded.setdefault(history, _Past(self._frames, joint=1))
        found, position = [], 0

        def encode(piece: Tensor, history: History) -> Tensor:
            count = -(-len(piece) // TIME)
            drawn = None if noise is None else noise[position : position + count]
            return self.codec.encode(piece, history=history, noise=drawn)

        while len(frames):
            size = TIME * self.retreat.settings.chunk + past.is_new
            latents = self._run(past, history, frames[:size], encode, self._skim)
            if latents is None:
                continue
            found.append(latents)
            frames, position = frames[size:], position + len(latents)
        return torch.cat(found)

    def decode(self, latent: Tensor, *, history: History) -> Tensor:
        """As that of `LatentCodec`, of a chunk of a clip."""
        past = self._decoded.setdefault(history, _Past(self._latents, joint=0))
        found = []

        def decode(piece: Tensor, history: History) -> Tensor:
            return self.codec.decode(piece, history=history)

        while len(latent):
            size = self.retreat.settings.chunk
            frames = self._run(past, history, latent[:size], decode, decode)
            if frames is None:
                continue
            found.append(frames)
            latent = latent[size:]
        return torch.cat(found)

    def _skim(self, piece: Tensor, history: History) -> Tensor:
        return self.codec.encode(piece, history=history)

    def _run(self, past: "_Past", given: History, piece: Tensor, run: _Run, again: _Run) -> Tensor | None:
        def call() -> Tensor:
            if past.is_lost:
                made = Carry()
                for old in past.pieces(self.retreat.settings.chunk):
                    again(old, made)
                past.remade, past.is_lost = made, False
            return run(piece, past.remade or given)

        result = self.retreat.attempt(call)
        if result is None:
            if isinstance(given, Carry):
                given.clear()  # it would keep its memory as long as the stream does
            past.remade, past.is_lost = None, True
        else:
            past.add(piece)
        return result


class _Past:
    """What a stream has given to one side of the autoencoder, as far back as it matters.

    joint: 1 for frames, of which the first stands alone before fours, 0 for latents. `is_lost`: the history of the
    layers has to be made again. `remade`: the one that takes the place of the stream's own.
    """

    def __init__(self, reach: int, *, joint: int):
        self.remade: Carry | None = None
        self.is_lost = False
        self.reach, self.joint = reach, joint
        self.seen: deque[Tensor] = deque()
        self.count = 0

    @property
    def is_new(self) -> bool:
        """Whether the next frame is one that stands alone."""
        return self.joint == 1 and not self.seen

    def add(self, piece: Tensor) -> None:
        """Note what has passed."""
        self.seen.append(piece)
        self.count += len(piece)
        while self.count - len(self.seen[0]) >= self.reach:
            self.count -= len(self.seen.popleft())

    def pieces(self, chunk: int) -> Iterator[Tensor]:
        """It again, so that a history begins with it."""
        if not self.seen:
            return
        rows = [row for piece in self.seen for row in piece]  # views: memory has just run out
        if self.joint:
            rows = rows[-((len(rows) - 1) // TIME * TIME + 1) :]
        step = TIME * chunk if self.joint else chunk
        yield torch.stack(rows[: step + self.joint])
        for at in range(step + self.joint, len(rows), step):
            yield torch.stack(rows[at : at + step])


def reaches(vae: VideoVAE) -> tuple[int, int]:
    """Frames and latents that have to pass before it no longer matters where a stream began."""
    frames = TIME * (-(-look_back(vae.encoder) // TIME) + 2)
    return frames, -(-look_back(vae.decoder, TIME) // TIME) + 1
