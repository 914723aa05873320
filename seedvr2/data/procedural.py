"""Drawn clips without any files: textured backgrounds, moving shapes and strokes under a moving camera.

They have what restoration must recover, sharp edges and fine detail in motion, and serve tests and first runs.
"""

from typing import NamedTuple

import cv2
import numpy as np

from seedvr2.errors import UserError
from seedvr2.randomness import numpy_generator

SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 pixel
TEXTURE_SIDE = 256


class Camera(NamedTuple):
    """A view that pans, zooms and turns: screen = zoom · R(angle) · world + shift, in units of the shorter side."""

    shift: np.ndarray  # (2,)
    pan: np.ndarray  # (2,) per frame
    zoom: float
    zoom_speed: float  # logarithmic, per frame
    angle: float
    spin: float  # radians per frame

    def matrix(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """The (2,2) matrix and (2,) shift of a frame."""
        angle, zoom = self.angle + self.spin * time, self.zoom * np.exp(self.zoom_speed * time)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return zoom * turn, self.shift + self.pan * time


class Shape(NamedTuple):
    """A polygon or a polyline that moves and turns, in units of the shorter side."""

    points: np.ndarray  # (n, 2) around its own centre
    centre: np.ndarray  # (2,)
    velocity: np.ndarray  # (2,) per frame
    spin: float  # radians per frame
    color: tuple[float, float, float]  # 0..255
    thickness: int  # pixels of a polyline; 0 fills

    def corners(self, time: float) -> np.ndarray:
        """The (n, 2) points at a time, in world units."""
        angle = self.spin * time
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return self.points @ turn.T + self.centre + self.velocity * time


class ProceduralClips:
    """An endless or fixed collection of drawn scenes.

    `count` scenes exist, numbered from `first`, so that a disjoint range serves as held-out data. Raises UserError if
    count is below one.
    """

    def __init__(self, count: int = 512, first: int = 0):
        if count < 1:
            raise UserError(f"count is {count}; give at least one procedural scene")
        self.count, self.first = int(count), int(first)
        self.failures = 0  # there are no files

    def clip(self, rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
        """One scene from a random moment on, as float32 (frames, height, width, 3) RGB in [0,1]."""
        scene = numpy_generator("procedural scene", self.first + int(rng.integers(self.count)))
        start = float(rng.uniform(-16, 16))
        camera = _camera(scene)
        texture = _texture(scene)
        shapes = [*(_polygon(scene) for _ in range(8)), *(stroke for _ in range(3) for stroke in _word(scene))]
        pictures = [
            _picture(texture, shapes, camera, time=start + step, size=(height, width)) for step in range(frames)
        ]
        clip = np.stack(pictures).astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(clip[:, :, ::-1]) if rng.random() < 0.5 else clip


def _camera(scene: np.random.Generator) -> Camera:
    return Camera(
        shift=scene.uniform(-0.2, 0.2, 2),
        pan=scene.normal(0, 0.015, 2),
        zoom=float(scene.uniform(0.8, 1.5)),
        zoom_speed=float(scene.normal(0, 0.004)),
        angle=float(scene.uniform(-np.pi, np.pi)),
        spin=float(scene.normal(0, 0.006)),
    )


def _texture(scene: np.random.Generator) -> np.ndarray:
    """A uint8 (side, side, 3) tile: two colours mixed by clouds, waves and checks, with fine grain."""
    rows, columns = np.mgrid[:TEXTURE_SIDE, :TEXTURE_SIDE].astype(np.float32)
    mix = np.zeros_like(rows)
    for cells in (4, 16, 64):
        clouds = scene.standard_normal((cells, cells), dtype=np.float32)
        mix += cv2.resize(clouds, (TEXTURE_SIDE, TEXTURE_SIDE), interpolation=cv2.INTER_CUBIC) * (3 / cells**0.7)
    for _ in range(2):
        # Whole periods per tile keep the tiling seamless; 4 to 64 periods are 64 to 4 pixels long.
        along, across = scene.integers(-48, 49, 2) * (2 * np.pi / TEXTURE_SIDE)
        wave = np.sin(along * columns + across * rows)
        # A steep, clipped wave is a check or stripe pattern with anti-aliased edges.
        mix += np.clip(wave * scene.choice([1.0, 6.0]), -1, 1) * scene.uniform(0.2, 1.0)
    low, high = scene.uniform(0, 255, 3), scene.uniform(0, 255, 3)
    share = (1 / (1 + np.exp(-1.5 * mix)))[..., None].astype(np.float32)
    grain = scene.standard_normal((TEXTURE_SIDE, TEXTURE_SIDE, 1), dtype=np.float32) * scene.uniform(0, 8)
    tile = low.astype(np.float32) * (1 - share) + high.astype(np.float32) * share + grain
    return np.clip(tile, 0, 255).astype(np.uint8)


def _polygon(scene: np.random.Generator) -> Shape:
    corners = int(scene.choice([3, 4, 5, 6, 24]))
    angles = np.arange(corners) * (2 * np.pi / corners)
    # 24 even corners are a disc; fewer get an uneven outline.
    radii = scene.uniform(0.06, 0.22) * (1 if corners == 24 else scene.uniform(0.6, 1.4, corners))
    return Shape(
        points=np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1),
        centre=scene.uniform(-0.7, 0.7, 2),
        velocity=scene.normal(0, 0.015, 2),
        spin=float(scene.normal(0, 0.05)),
        color=tuple(scene.uniform(0, 255, 3).tolist()),
        thickness=int(scene.choice([0, 0, 0, 1, 3])),
    )


def _word(scene: np.random.Generator) -> list[Shape]:
    """A row of letter-like strokes on a 3×4 grid of points, moving as one."""
    height = scene.uniform(0.05, 0.15)
    centre, velocity = scene.uniform(-0.5, 0.5, 2), scene.normal(0, 0.01, 2)
    color = tuple(scene.uniform(0, 255, 3).tolist())
    thickness = int(scene.integers(1, 3))
    strokes = []
    for letter in range(int(scene.integers(3, 7))):
        for _ in range(2):
            grid = scene.integers(0, (3, 4), (3, 2)) * (0.3, 1 / 3) + (letter, -0.5)
            strokes.append(Shape(grid * height, centre, velocity, 0.0, color, thickness))
    return strokes


def _picture(
    texture: np.ndarray, shapes: list[Shape], camera: Camera, *, time: float, size: tuple[int, int]
) -> np.ndarray:
    """The uint8 (height, width, 3) view at a time, in frames."""
    height, width = size
    unit, middle = min(size), np.array([width / 2, height / 2])
    matrix, shift = camera.matrix(time)
    # The texture keeps its pixel scale at any picture size, so that its detail stays as fine.
    placement = np.column_stack([matrix, shift * unit + middle])
    picture = cv2.warpAffine(texture, placement, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    for shape in shapes:
        corners = (shape.corners(time) @ matrix.T + shift) * unit + middle
        fixed = np.rint(corners * (1 << SUBPIXEL_BITS)).astype(np.int32)[None]
        if shape.thickness:
            cv2.polylines(picture, fixed, False, shape.color, shape.thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            cv2.fillPoly(picture, fixed, shape.color, cv2.LINE_AA, SUBPIXEL_BITS)
    return picture
