"""Restoration in Python: `Restorer("tiny").restore(frames)`, the object that the commands work with as well."""

from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.io.picture import Picture
from seedvr2.restore.device import DTYPES
from seedvr2.restore.events import Events
from seedvr2.restore.film import Cuts, numbered, restored
from seedvr2.restore.frames import Form, Frame, form_of, samples_of
from seedvr2.restore.loading import IDENTITY, Choice, Loaded, load_choice
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.progress import tracked
from seedvr2.restore.resize import DEFAULT_SCALE, Size, resize_frame, target_size


class Restorer:
    """A model that is loaded once and restores any number of clips, each of which depends on nothing but itself.

    `shot`: what restores single shots. `facts`: everything about the model that results depend on, JSON-able.
    `parameters`: how many the generator has. `ranks`: processes that share the work.
    """

    ranks = 1

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        models: str | Path | None = None,
        lora: str | Path | None = None,
        lora_strength: float | None = None,
        seed: int = 0,
        window: int | None = None,
        steps: int | None = None,
        cfg: float | None = None,
        cfg_rescale: float | None = None,
        fidelity: float | None = None,
        color_fix: str | None = None,
        posterior: str = "sample",
        vae: str = "fast",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        weights: str = "full",
        offload: int | None = None,
    ):
        """Load a model, silently. The arguments are those of `python -m seedvr2.infer`, with the same defaults.

        model: a name such as "tiny" or "3b", or the folder of a model or training run; None: the released weights if
        there are any and an accelerator, else "tiny". models: a table of models of your own. lora, lora_strength: a
        file of adapters, and their factor. seed: of the noise that restoration starts from. window: frames restored
        together, 4k + 1. steps: generator calls per window. cfg, cfg_rescale: guidance of multi-step models.
        fidelity: from 0, vivid, to 1, faithful, of a model with two generators. color_fix: "wavelet", "adain",
        "grey" or "none". posterior: "sample" or "mean". vae: "fast", or "plain" as in training.
        device: "cpu", "cuda", "cuda:1", "mps", ...; None: the accelerator if there is one. dtype: "fp32", "bf16" or
        "fp16", or the torch dtype; None: what the device is good at. weights: "full", or "int8" or "fp8" for the
        generator's large layers. offload: how many of its blocks stay on the device; None: all. Raises UserError, a
        ValueError, for what does not exist or fit.
        """
        names = {value: name for name, value in DTYPES.items()}
        choice = Choice(
            model=None if model is None else str(model),
            models=None if models is None else Path(models),
            lora=None if lora is None else Path(lora),
            lora_strength=lora_strength,
            seed=seed,
            window=window,
            steps=steps,
            cfg=cfg,
            cfg_rescale=cfg_rescale,
            fidelity=fidelity,
            color_fix=color_fix,
            posterior=posterior,
            vae=vae,
            device=None if device is None else str(device),
            dtype=names.get(dtype, dtype),
            weights=weights,
            offload=offload,
        )
        self._hold(load_choice(choice, Events(quiet=True)))

    @classmethod
    def chosen(cls, choice: Choice, events: Events, settings: Settings | None = None) -> Self:
        """Load what a command was asked for, and say so. settings: of memory, else the usual ones.

        Raises UserError for what does not exist or fit.
        """
        made = cls.__new__(cls)
        made._hold(load_choice(choice, events, settings))
        return made

    def settle(self, settings: Settings) -> None:
        """Use memory as a plan says from here on."""
        self._hold(self._loaded.settled(settings, self.ranks))

    def share(self, ranks: int) -> None:
        """Prepare for several processes that do its work together.

        They cannot go on after memory ran out: one of them, repeating a call alone, would wait for the others.
        """
        self.ranks = ranks
        self._loaded.unsteady()

    def memory(self) -> dict:
        """How memory is used, and what had to be changed because it ran out; nothing of it changes results."""
        retreat = self._loaded.retreat
        return {} if retreat is None else {**retreat.settings.facts(), "changed": list(retreat.steps)}

    def _hold(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.shot, self.facts, self.parameters = loaded.restorer, loaded.facts, loaded.parameters

    def __repr__(self) -> str:
        return f"Restorer({', '.join(f'{name}={value!r}' for name, value in self.facts.items())})"

    def restore(
        self,
        frames: Frame | Iterable[Frame],
        *,
        scale: float | None = None,
        short_side: int | None = None,
        size: tuple[int, int] | None = None,
        cuts: Cuts = None,
        progress: bool = False,
    ) -> Frame | list[Frame] | Iterator[Frame]:
        """Restore a clip or a picture; the result has the kind, type, layout, range and device of what was given.

        frames: a tensor (T,3,H,W) or (3,H,W), an array (T,H,W,3) or (H,W,3), an RGB picture of PIL, a list of single
        frames, or any other iterable of them, which is drawn from as needed and gives an iterator: a window's worth of
        frames is held. RGB; uint8 in [0, 255], uint16 in [0, 65535], or floats in [0, 1].

        scale, short_side, size: the output's size by a factor (default 4), its short side in pixels, or exactly as
        (height, width). cuts: numbers of the frames that begin shots, () for none; None: they are found. progress:
        whether to report on standard error. Raises UserError, a ValueError, for what cannot be restored.
        """
        default = 1.0 if self.facts["name"] == IDENTITY else DEFAULT_SCALE
        request = {"scale": scale, "short_side": short_side, "size": size, "default": default}
        if cuts is not None and any(cut < 0 for cut in cuts):
            raise UserError(f"there is a cut at frame {min(cuts)}; frames count from 0")
        if isinstance(frames, torch.Tensor | np.ndarray) and frames.ndim == 4:
            return self._clip(frames, request, cuts, progress)
        if isinstance(frames, torch.Tensor | np.ndarray | Image.Image) or not isinstance(frames, Iterable):
            return next(self._stream([frames], request, cuts, progress))
        results = self._stream(frames, request, cuts, progress)
        return list(results) if isinstance(frames, list | tuple) else results

    def _clip(
        self, clip: torch.Tensor | np.ndarray, request: dict, cuts: Cuts, progress: bool
    ) -> torch.Tensor | np.ndarray:
        if not len(clip):
            raise UserError("the clip has no frame; give at least one")
        form = form_of(clip[0])
        results = form.empty(len(clip), target_size(*form.size, **request))
        for place, frame in enumerate(self._stream(clip, request, cuts, progress)):
            results[place] = frame
        return results

    def _stream(self, frames: Iterable[Frame], request: dict, cuts: Cuts, progress: bool) -> Iterator[Frame]:
        form: Form | None = None
        target: Size | None = None

        def pictures() -> Iterator[Picture]:
            nonlocal form, target
            for number, frame in enumerate(frames):
                found = form_of(frame)
                if form is None:
                    form, target = found, target_size(*found.size, **request)
                if found != form:
                    raise UserError(f"frame {number} ({told(found)}) is not like those before it ({told(form)})")
                yield Picture(samples_of(frame))

        steps = restored(numbered(pictures(), cuts), self.shot, lambda rgb: resize_frame(rgb, target))
        if progress:
            steps = tracked(steps, total=len(frames) if isinstance(frames, Sized) else None)
        for step in steps:
            yield form.made(step.restored)


def told(form: Form) -> str:
    """A form in words."""
    place = "" if form.device is None else f" on {form.device}"
    return f"{form.kind.__name__} of {form.dtype}, {form.size}{place}"
