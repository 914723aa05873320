"""Gaussian and Poisson noise, coloured or gray, on [0,1] pictures; the result is not clipped."""

from collections.abc import Mapping, Sequence

import numpy as np

from seedvr2.data.degradation.draw import Draw, odds_of, span_of, steps_of, to_bytes

KINDS = ("gaussian", "poisson")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Noise:
    """Add noise of one kind to a clip; its strength drifts and its samples are independent per frame.

    `sigma` is the Gaussian standard deviation in units of 1/255, `scale` the factor on Poisson noise in the [0,1]
    domain: (Poisson(v x)/v - x) · scale with v the number of grey levels of the frame rounded up to a power of two.
    (Implementations that apply the same numbers to 0–255 pictures get noise 16 times weaker.) `gray` is the
    probability of equal noise in the three channels; `drift` has the largest steps of `sigma` and `scale` per frame.
    """

    def __init__(
        self,
        kinds: Mapping[str, float],
        *,
        sigma: Sequence[float] = (1.0, 30.0),
        scale: Sequence[float] = (0.05, 3.0),
        gray: float = 0.4,
        drift: Mapping[str, float] | None = None,
    ):
        self.kinds = odds_of("kinds", kinds, KINDS)
        self.sigma = span_of("sigma", sigma)
        self.scale = span_of("scale", scale)
        self.gray = float(gray)
        self.drift = steps_of(drift, ("sigma", "scale"))

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        kind = draw.choose(self.kinds)
        is_gray = draw.happens(self.gray)
        name = "sigma" if kind == "gaussian" else "scale"
        span = self.sigma if kind == "gaussian" else self.scale
        strengths = draw.walk(span, self.drift[name], frames=len(clip))
        draw.record.append({"op": "noise", "kind": kind, "gray": is_gray, name: strengths})
        add = gaussian_noise if kind == "gaussian" else poisson_noise
        pairs = zip(clip, strengths, strict=True)
        return np.stack([frame + add(frame, strength, is_gray=is_gray, rng=draw.rng) for frame, strength in pairs])


def gaussian_noise(frame: np.ndarray, sigma: float, *, is_gray: bool, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation sigma/255 for an (H,W,3) frame; (H,W,1) if gray."""
    shape = (*frame.shape[:2], 1 if is_gray else 3)
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)


def poisson_noise(frame: np.ndarray, scale: float, *, is_gray: bool, rng: np.random.Generator) -> np.ndarray:
    """Shot noise of an (H,W,3) frame, whose variance follows the brightness; (H,W,1) if gray."""
    picture = (frame @ LUMA)[..., None] if is_gray else frame
    levels = to_bytes(picture)
    used = np.count_nonzero(np.bincount(levels.ravel(), minlength=256))
    counts = 2.0 ** np.ceil(np.log2(used))
    clean = levels.astype(np.float32) / np.float32(255)
    noisy = rng.poisson(clean * counts).astype(np.float32) / np.float32(counts)
    return (noisy - clean) * np.float32(scale)
