"""BT.601 luma, as MATLAB's rgb2ycbcr has it."""

import torch
from torch import Tensor

_WEIGHTS = (65.481, 128.553, 24.966)  # of R, G, B in [0, 1], to [16, 235]


def luma(frame: Tensor) -> Tensor:
    """Luma in [16, 235], float64 (H, W), not rounded, of an RGB frame (H, W, 3) in [0, 255]."""
    weights = torch.tensor(_WEIGHTS, dtype=torch.float64, device=frame.device) / 255
    return frame.double() @ weights + 16
