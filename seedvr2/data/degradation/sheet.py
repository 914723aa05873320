"""Contact sheets of a degradation: the original and several draws side by side, each with what was drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 480  # pixels; width of a picture on the sheet
TALLEST = 2  # height of a picture in widths; taller ones are narrowed
DETAILS = 3  # first, middle and last frame
DETAIL = 8  # the longer side of a picture divided by the side of the part that is enlarged
GAP = 8
LETTER = 14  # height of the text in pixels
LINE = 17
PAPER, INK, ACCENT = (24, 24, 24), (235, 235, 235), (255, 205, 90)
SEPARATOR = " · "
OMITTED = ("op", "bits_per_frame", "rotation", "beta", "first_line", "gains")  # what tells the eye little


class Cell(NamedTuple):
    """One picture of a sheet: a clip float32 (T,h,w,3) in [0,1], its title, and what to say below the title."""

    clip: np.ndarray
    title: str
    facts: Sequence[str]


def contact_sheet(cells: Sequence[Cell], *, size: tuple[int, int]) -> np.ndarray:
    """A uint8 (H,W,3) sheet of clips that show the same scene, the first one being the original of `size`.

    Every cell shows the middle frame, and below it the most detailed part, enlarged, of the first, middle and last
    frame (of an image once). All clips are enlarged to the same size bicubically, as a restoration model gets them.
    """
    width = max(round(CELL * min(1, TALLEST * size[1] / size[0])), 1)
    height = max(round(width * size[0] / size[1]), 1)
    square = _busiest_square(cells[0].clip)
    texts = [_lines(cell.facts) for cell in cells]
    lines = 1 + max(len(text) for text in texts)
    columns = min(max(round(np.sqrt(len(cells) * (height + CELL / DETAILS) / CELL)), 2), 4, len(cells))
    tiles = [_tile(cell, text, lines, (height, width), square) for cell, text in zip(cells, texts, strict=True)]
    blank = np.full_like(tiles[0], PAPER)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[start : start + columns], axis=1) for start in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def summary(record: Sequence[dict]) -> list[str]:
    """What was drawn, a few words per operation: names and numbers, the mean where they change over the frames."""
    return [" ".join(_words(entry)) for entry in record if entry["op"] != "order"]


def _words(entry: dict) -> list[str]:
    words = [entry["op"].replace("_", " ")]
    for name, value in entry.items():
        if name in OMITTED:
            continue
        if isinstance(value, bool):
            words += [name] if value else []
        elif isinstance(value, str):
            words.append(value)
        elif isinstance(value, int | float):
            words.append(f"{name} {value:.2g}" if abs(value) < 10 else f"{name} {value:.0f}")
        elif isinstance(value, list) and value and all(isinstance(part, int | float) for part in value):
            words += _words({"op": "", name: float(np.mean(value))})[1:]
    return [word.replace("_", " ") for word in words]


def _lines(facts: Sequence[str]) -> list[str]:
    # As many facts to a line as fit.
    font = ImageFont.load_default(LETTER)
    lines = []
    for fact in facts:
        longer = f"{lines[-1]}{SEPARATOR}{fact}" if lines else fact
        if lines and font.getlength(longer) <= CELL:
            lines[-1] = longer
        else:
            lines.append(fact)
    return lines


def _tile(
    cell: Cell, text: Sequence[str], lines: int, size: tuple[int, int], square: tuple[float, float, float, float]
) -> np.ndarray:
    height, width = size
    side = CELL // DETAILS
    canvas = Image.new("RGB", (CELL + GAP, GAP + lines * LINE + height + side + 2 * GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(LETTER)
    for row, line in enumerate([cell.title, *text]):
        pen.text((GAP // 2, GAP // 2 + row * LINE), line, fill=INK if row else ACCENT, font=font)
    top = GAP + lines * LINE
    middle = len(cell.clip) // 2
    canvas.paste(_picture(cell.clip[middle], (height, width)), (GAP // 2, top))
    box = [GAP // 2 + square[1] * width, top + square[0] * height, square[3] * width, square[2] * height]
    pen.rectangle((box[0], box[1], box[0] + box[2], box[1] + box[3]), outline=ACCENT)
    for column, time in enumerate((0, middle, len(cell.clip) - 1) if middle else (0,)):
        detail = _picture(_cut(cell.clip[time], square), (side - 2, side - 2))
        canvas.paste(detail, (GAP // 2 + column * side, top + height + GAP // 2))
    return np.asarray(canvas)


def _picture(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    larger = size[0] >= frame.shape[0]
    resized = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
    return Image.fromarray(np.rint(np.clip(resized, 0, 1) * 255).astype(np.uint8))


def _cut(frame: np.ndarray, square: tuple[float, float, float, float]) -> np.ndarray:
    height, width = frame.shape[:2]
    top, left = int(square[0] * height), int(square[1] * width)
    bottom, right = int((square[0] + square[2]) * height), int((square[1] + square[3]) * width)
    return frame[top : max(bottom, top + 1), left : max(right, left + 1)]


def _busiest_square(clip: np.ndarray) -> tuple[float, float, float, float]:
    # Top, left, height and width, as shares of the picture, of the square with the strongest edges and motion.
    height, width = clip.shape[1:3]
    side = max(min(height, width, max(height, width) // DETAIL), 1)
    gray = clip.mean(axis=3)
    sums = cv2.integral(np.abs(cv2.Laplacian(gray[len(gray) // 2], cv2.CV_32F)) + np.abs(gray[-1] - gray[0]))
    totals = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(totals.argmax()), totals.shape)
    return float(top / height), float(left / width), side / height, side / width
