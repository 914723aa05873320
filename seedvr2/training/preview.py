"""What a stage makes of a few fixed samples: PSNR, and a picture with LQ, result and HQ side by side."""

from pathlib import Path

import torch
from torch import Tensor

from seedvr2.io.images import write_image


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of clips in [-1, 1] over all pixels, after clamping."""
    error = torch.mean((a.clamp(-1, 1).double() - b.clamp(-1, 1).double()) ** 2) / 4
    return float(-10 * torch.log10(error.clamp_min(1e-10)))


def write_sheet(path: Path, rows: list[list[Tensor]]) -> None:
    """Write a PNG with one row per sample; each entry is a clip (T, 3, H, W) in [-1, 1], shown by its middle frame."""
    pictures = [torch.cat([clip[len(clip) // 2] for clip in row], dim=-1) for row in rows]
    width = max(picture.shape[-1] for picture in pictures)
    padded = [torch.nn.functional.pad(picture, (0, width - picture.shape[-1])) for picture in pictures]
    sheet = torch.cat(padded, dim=-2).clamp(-1, 1).add(1).mul(127.5).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, sheet.permute(1, 2, 0).cpu().numpy())
