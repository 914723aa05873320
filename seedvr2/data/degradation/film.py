"""What wear does to a film strip: grain, dust and hairs on single frames, scratches that stay for many."""

from collections.abc import Sequence

import cv2
import numpy as np

from seedvr2.data.degradation.draw import Draw, span_of

REFERENCE = 480  # lines; sizes are given for pictures of this height and scale with it
DARK, BRIGHT = 0.05, 0.95  # dirt on a positive is dark, dirt on the negative prints white
BRIGHT_DUST, BRIGHT_SCRATCHES, HAIRS = 0.35, 0.6, 0.2  # shares
SOFTNESS = 0.5  # pixels; standard deviation of the blur of dust at the reference height
CORNERS = 9  # of the outline of a speck, or points along a hair
SUBPIXEL = 4  # bits; OpenCV takes coordinates in sixteenths of a pixel


class Grain:
    """Add film grain: gray noise with grains of a size, strongest at middle brightness, new in every frame.

    `sigma` is the range of its largest standard deviation in units of 1/255, `size` that of the standard deviation of a
    grain's blur in pixels at 480 lines.
    """

    def __init__(self, probability: float = 1.0, *, sigma: Sequence[float] = (4, 16), size: Sequence[float] = (0.4, 1)):
        self.probability = float(probability)
        self.sigma = span_of("sigma", sigma)
        self.size = span_of("size", size)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        sigma, size = draw.uniform(self.sigma), draw.uniform(self.size)
        draw.record.append({"op": "grain", "sigma": sigma, "size": size})
        blur = size * clip.shape[1] / REFERENCE
        return np.stack([frame + self._grain(frame, sigma, blur, draw.rng) for frame in clip])

    def _grain(self, frame: np.ndarray, sigma: float, blur: float, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal(frame.shape[:2], dtype=np.float32)
        if blur > 0.2:
            noise = cv2.GaussianBlur(noise, (0, 0), blur, borderType=cv2.BORDER_REFLECT_101)
        noise *= np.float32(sigma / 255) / max(float(noise.std()), 1e-6)
        gray = np.clip(frame.mean(axis=2), 0, 1)
        return (noise * np.sqrt(0.1 + 0.9 * 4 * gray * (1 - gray)))[..., None]


class Dust:
    """Lay specks and hairs over single frames; a new handful in every frame.

    `count` is the range of the mean number per frame, drawn once per clip, `size` that of a speck's radius in pixels at
    480 lines, `opacity` that of its strength. Most are dark, some bright.
    """

    def __init__(
        self,
        probability: float = 1.0,
        *,
        count: Sequence[float] = (1, 8),
        size: Sequence[float] = (0.7, 6),
        opacity: Sequence[float] = (0.4, 1),
    ):
        self.probability = float(probability)
        self.count = span_of("count", count)
        self.size = span_of("size", size)
        self.opacity = span_of("opacity", opacity)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        mean = draw.uniform(self.count)
        specks = [[self._speck(draw) for _ in range(number)] for number in draw.rng.poisson(mean, len(clip))]
        draw.record.append({"op": "dust", "mean": mean, "specks": specks})
        return np.stack([_dusty(frame, some) for frame, some in zip(clip, specks, strict=True)])

    def _speck(self, draw: Draw) -> dict:
        # The place in shares of the picture, the outline (of a hair: the middle line) around it in units of the size.
        is_hair = draw.happens(HAIRS)
        return {
            "place": draw.rng.uniform(0, 1, 2).tolist(),
            "size": draw.uniform(self.size),
            "opacity": draw.uniform(self.opacity),
            "shade": BRIGHT if draw.happens(BRIGHT_DUST) else DARK,
            "hair": is_hair,
            "outline": (_curl(draw.rng) if is_hair else _blot(draw.rng)).tolist(),
        }


class Scratches:
    """Draw thin vertical scratches that stay for the clip, wander sideways and come and go in strength.

    `count` is the range of their number (rounded), `width` that of their width in pixels at 480 lines, `opacity` that
    of their largest strength, `wander` the standard deviation of their step per frame, in pixels at 480 lines.
    """

    def __init__(
        self,
        probability: float = 1.0,
        *,
        count: Sequence[float] = (1, 4),
        width: Sequence[float] = (0.6, 2),
        opacity: Sequence[float] = (0.2, 0.7),
        wander: float = 0.5,
    ):
        self.probability = float(probability)
        self.count = span_of("count", count)
        self.width = span_of("width", width)
        self.opacity = span_of("opacity", opacity)
        self.wander = float(wander)

    def __call__(self, clip: np.ndarray, draw: Draw) -> np.ndarray:
        if not draw.happens(self.probability):
            return clip
        lines = [self._line(clip.shape, draw) for _ in range(round(draw.uniform(self.count)))]
        draw.record.append({"op": "scratches", "count": len(lines), "lines": lines})
        columns = np.arange(clip.shape[2])
        clip = clip.copy()
        for line in lines:
            spread = max(line["width"] * clip.shape[1] / REFERENCE, 0.5) / 2
            for frame, x, opacity in zip(clip, line["x"], line["opacity"], strict=True):
                profile = opacity * np.exp(-0.5 * ((columns - x) / spread) ** 2)
                frame += profile[None, :, None].astype(np.float32) * (np.float32(line["shade"]) - frame)
        return clip

    def _line(self, shape: tuple[int, ...], draw: Draw) -> dict:
        frames, height, width = shape[:3]
        steps = draw.rng.normal(0, self.wander * height / REFERENCE, frames)
        strongest = draw.uniform(self.opacity)
        return {
            "width": draw.uniform(self.width),
            "shade": BRIGHT if draw.happens(BRIGHT_SCRATCHES) else DARK,
            "x": (draw.uniform((0, width)) + steps.cumsum()).tolist(),
            "opacity": draw.walk((0, strongest), strongest / 2, frames=frames),
        }


def _dusty(frame: np.ndarray, specks: list[dict]) -> np.ndarray:
    for shade in (DARK, BRIGHT):
        some = [speck for speck in specks if speck["shade"] == shade]
        if some:
            frame = frame + _cover(some, frame.shape[:2])[..., None] * (np.float32(shade) - frame)
    return frame


def _cover(specks: list[dict], size: tuple[int, int]) -> np.ndarray:
    # How much of each pixel the specks hide. OpenCV draws outlines at least a pixel wide, which would swell specks of
    # small pictures; so these are drawn larger and reduced.
    enlarged = int(np.clip(round(REFERENCE / size[0]), 1, 8))
    height, width = size[0] * enlarged, size[1] * enlarged
    mask = np.zeros((height, width), np.uint8)
    for speck in specks:
        radius = speck["size"] * height / REFERENCE
        points = np.array(speck["place"]) * (width, height) + radius * np.array(speck["outline"])
        points = [np.rint(points * 2**SUBPIXEL).astype(np.int32)]
        strength = round(255 * speck["opacity"])
        if speck["hair"]:
            thickness = max(round(radius / 3), 1)
            cv2.polylines(mask, points, False, strength, thickness, cv2.LINE_AA, shift=SUBPIXEL)
        else:
            cv2.fillPoly(mask, points, strength, cv2.LINE_AA, shift=SUBPIXEL)
    mask = cv2.resize(mask.astype(np.float32) / 255, size[::-1], interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(mask, (0, 0), max(SOFTNESS * size[0] / REFERENCE, 0.3))


def _blot(rng: np.random.Generator) -> np.ndarray:
    # (x, y) of the corners of an uneven outline of about unit radius.
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return rng.uniform(0.5, 1.1, (CORNERS, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _curl(rng: np.random.Generator) -> np.ndarray:
    # (x, y) of points along a line that turns a little at every point, so that it bends and curls.
    angles = rng.uniform(-np.pi, np.pi) + rng.normal(0, 0.6, CORNERS).cumsum()
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).cumsum(axis=0)
