"""Where pixels go from one frame to the next: OpenCV's DIS without weights, or RAFT-large of torchvision's."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedvr2.evaluation.contract import Settings, Unavailable, fingerprint, versions
from seedvr2.evaluation.weights import find_weights, load_strictly, quiet, read_weights

RAFT_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
_SOURCE = "https://download.pytorch.org/models"
_UPDATES = 12
_LEAST = 128  # pixels a side that RAFT's four levels of correlation need

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]  # two uint8 (H, W, 3) -> float32 (H, W, 2), x and y in pixels


def make_flow(settings: Settings) -> tuple[Flow, str, str, str]:
    """Flow from a first to a second frame, its name, package versions, and fingerprint of its weights.

    Raises Unavailable if RAFT is asked for and its file is missing.
    """
    if settings.flow in ("auto", "raft"):
        try:
            return raft(settings)
        except Unavailable:
            if settings.flow == "raft":
                raise
    return dis, "OpenCV DIS (preset MEDIUM, grey frames)", versions("opencv-python-headless"), ""


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense inverse search (Kroeger et al. 2016)."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return search.calc(*grey, None)


def raft(settings: Settings) -> tuple[Flow, str, str, str]:
    """RAFT-large (Teed and Deng 2020) with torchvision's weights C_T_SKHT_V2; see `make_flow`."""
    from torchvision.models.optical_flow import raft_large  # slow to import

    path = find_weights(RAFT_FILE, settings, source=_SOURCE)
    with quiet():
        network = raft_large(weights=None).eval()
    load_strictly(network, read_weights(path), path)
    network.to(settings.device)

    @torch.no_grad()
    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        pair = [_padded(frame, settings.device) for frame in (first, second)]
        field = network(*pair, num_flow_updates=_UPDATES)[-1][0, :, :height, :width]
        return field.permute(1, 2, 0).float().cpu().numpy()

    return flow, f"RAFT-large, {_UPDATES} updates", versions("torchvision"), fingerprint(path)


def _padded(frame: np.ndarray, device: str) -> Tensor:
    """float32 (1, 3, H', W') in [-1, 1], edges repeated until both sides are multiples of 8 and large enough."""
    picture = torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
    height, width = (max(-(-side // 8) * 8, _LEAST) - side for side in picture.shape[2:])
    return F.pad(picture, (0, width, 0, height), mode="replicate")
