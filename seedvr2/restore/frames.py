"""Frames as people hold them - tensors, arrays, pictures of PIL - to and from what the restoration works on."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from seedvr2.errors import UserError
from seedvr2.restore.resize import Size, as_samples

Frame = torch.Tensor | np.ndarray | Image.Image
SLACK = 1e-3  # by which rounding may leave [0, 1]
KINDS = "tensors (3,H,W), arrays (H,W,3) or RGB pictures of PIL"


class Form(NamedTuple):
    """What a frame is, so that its result can be made alike: kind, type of its values, size, device of a tensor."""

    kind: type
    dtype: torch.dtype | np.dtype
    size: Size
    device: torch.device | None = None

    def made(self, restored: torch.Tensor) -> Frame:
        """A restored frame (3,H,W), float32 in [-1,1] on the CPU, in this form; the size is its own."""
        if self.kind is torch.Tensor:
            if self.dtype.is_floating_point:
                return ((restored + 1) / 2).to(self.device, self.dtype)
            samples = as_samples(restored, np.uint8 if self.dtype == torch.uint8 else np.uint16)
            return torch.from_numpy(samples).permute(2, 0, 1).contiguous().to(self.device)
        if self.dtype.kind == "f":
            return ((restored + 1) / 2).permute(1, 2, 0).contiguous().numpy().astype(self.dtype)
        samples = as_samples(restored, self.dtype.type)
        return samples if self.kind is np.ndarray else Image.fromarray(samples)

    def empty(self, count: int, size: Size) -> torch.Tensor | np.ndarray:
        """Room for that many results of a size."""
        if self.kind is torch.Tensor:
            return torch.empty(count, 3, *size, dtype=self.dtype, device=self.device)
        return np.empty((count, *size, 3), self.dtype)


def form_of(frame: object) -> Form:
    """The form of a single frame. Raises UserError for what is none."""
    if isinstance(frame, torch.Tensor):
        if frame.ndim != 3 or frame.shape[0] != 3:
            raise UserError(f"a tensor {tuple(frame.shape)} is no frame (3,H,W); permute its axes, or give its frames")
        if frame.dtype not in (torch.uint8, torch.uint16) and not frame.dtype.is_floating_point:
            raise UserError(f"a tensor of {frame.dtype} is no picture; give uint8, uint16, or floats in [0, 1]")
        return Form(torch.Tensor, frame.dtype, Size(*frame.shape[1:]), frame.device)
    if isinstance(frame, np.ndarray):
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise UserError(f"an array {frame.shape} is no frame (H,W,3); move its axes, or give its frames")
        if frame.dtype not in (np.uint8, np.uint16) and frame.dtype.kind != "f":
            raise UserError(f"an array of {frame.dtype} is no picture; give uint8, uint16, or floats in [0, 1]")
        return Form(np.ndarray, frame.dtype, Size(*frame.shape[:2]))
    if isinstance(frame, Image.Image):
        if frame.mode != "RGB":
            raise UserError(f'a picture of mode {frame.mode} is not RGB; give picture.convert("RGB")')
        return Form(Image.Image, np.dtype(np.uint8), Size(frame.height, frame.width))
    raise UserError(f"{type(frame).__name__} is no frame; give {KINDS}, or an iterable of such")


def samples_of(frame: Frame) -> np.ndarray:
    """A frame with a form as (H,W,3): uint8, uint16, or float32. Raises UserError for floats outside [0, 1]."""
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().permute(1, 2, 0)
        frame = (frame.float() if frame.is_floating_point() else frame).cpu().numpy()
    samples = np.asarray(frame)
    if samples.dtype.kind != "f":
        return samples
    low, high = float(samples.min()), float(samples.max())
    if np.isnan(low):
        raise UserError("a frame holds NaN; correct what made it")
    if low < -SLACK or high > 1 + SLACK:
        raise UserError(
            f"a frame has values from {low:g} to {high:g}, and floats must be in [0, 1];"
            " give (x + 1) / 2 for x in [-1, 1], x / 255 for x in [0, 255], or clip what overshoots"
        )
    return samples.astype(np.float32, copy=False)
