"""What an old projector and old dyes do to a film: an unsteady picture, uneven light, and faded colours."""

from collections.abc import Sequence

import cv2
import numpy as np

from seedvr2.data.degradation.draw import Draw, span_of
from seedvr2.data.degradation.tensors import LUMA

CALM = 0.7  # share of a frame's displacement that the next one keeps


class GateWeave:
    """Move every frame a little, as a film strip in a worn gate does: mostly steadily, partly by jumps.

    `amplitude` is the range of the displacement's standard deviation and `rotation` that of the angle's, in thousandths
    of the picture height and of a radian. Borders are mirrored.
    """

    def __init__(
        self, probability: float = 1.0, *, amplitude: Sequence[float] = (0.5, 3), rotation: Sequence[float] = (0, 1)
    ):
        self.probability = float(probability)
        self.amplitude = span_of("amplitude", amplitude)
        self.rotation = span_of("rotation", rotation)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        amplitude, rotation = draw.uniform(self.amplitude), draw.uniform(self.rotation)
        height = clip.shape[1]
        scale = np.array([height * amplitude, height * amplitude, rotation]) / 1000
        moves = _steady(draw.rng, (len(clip), 3)) * scale
        draw.record.append({"op": "gate_weave", "amplitude": amplitude, "rotation": rotation, "moves": moves.tolist()})
        return np.stack([_moved(frame, *move) for frame, move in zip(clip, moves, strict=True)])


class Flicker:
    """Change brightness from frame to frame: a gain whose logarithm has the standard deviation `gain` (range)."""

    def __init__(self, probability: float = 1.0, *, gain: Sequence[float] = (0.02, 0.1)):
        self.probability = float(probability)
        self.gain = span_of("gain", gain)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        spread = draw.uniform(self.gain)
        gains = np.exp(spread * _steady(draw.rng, (len(clip),)))
        draw.record.append({"op": "flicker", "spread": spread, "gains": gains.tolist()})
        return clip * gains.astype(np.float32)[:, None, None, None]


class Fading:
    """Fade a clip: less colour, lifted blacks and dimmed whites, and a tint.

    `gray` is the probability of black and white, `saturation` the range of the share of colour that is left otherwise,
    `black` and `white` the ranges of the new extremes, `warmth` that of the gain of red (and loss of blue), as aged
    dyes show.
    """

    def __init__(
        self,
        probability: float = 1.0,
        *,
        gray: float = 0.4,
        saturation: Sequence[float] = (0.2, 0.8),
        black: Sequence[float] = (0.0, 0.15),
        white: Sequence[float] = (0.75, 1.0),
        warmth: Sequence[float] = (-0.03, 0.15),
    ):
        self.probability, self.gray = float(probability), float(gray)
        self.saturation = span_of("saturation", saturation)
        self.black = span_of("black", black)
        self.white = span_of("white", white)
        self.warmth = span_of("warmth", warmth)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        saturation = 0.0 if draw.happens(self.gray) else draw.uniform(self.saturation)
        black, white, warmth = (draw.uniform(span) for span in (self.black, self.white, self.warmth))
        levels = {"black": black, "white": white, "warmth": warmth}
        draw.record.append({"op": "fading", "saturation": saturation, **levels})
        luma = (clip @ np.float32(LUMA))[..., None]
        faded = luma + np.float32(saturation) * (clip - luma)
        tint = np.array([1 + warmth, 1, 1 - warmth], np.float32)
        return (np.float32(black) + np.float32(white - black) * faded) * tint


def _steady(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    # A stationary first-order process of unit variance along the first axis.
    values = rng.standard_normal(shape)
    for time in range(1, shape[0]):
        values[time] = CALM * values[time - 1] + np.sqrt(1 - CALM**2) * values[time]
    return values


def _moved(frame: np.ndarray, down: float, right: float, angle: float) -> np.ndarray:
    height, width = frame.shape[:2]
    placement = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), np.degrees(angle), 1.0)
    placement[:, 2] += right, down
    return cv2.warpAffine(frame, placement, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
