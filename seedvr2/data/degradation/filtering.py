"""Correlation of frames with small kernels in the cheapest of three equivalent ways.

Kernels lose what is negligible first. Then sparse ones are applied tap by tap, nearly separable ones as a sum of
products of a column and a row, and all others by the Fourier transform.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

NEGLIGIBLE = 1e-5  # the sum of absolute values that a kernel may lose, which bounds the error on [0,1] pictures
BORDER = cv2.BORDER_REFLECT_101
LARGEST_AREA = 129  # of the kernels that OpenCV applies tap by tap
# Costs in taps per pixel, as measured.
CALL = 4
SEPARABLE_CALL = 10
SEPARABLE_TAP = 1.8
SPECTRAL = 140


class Kernel(NamedTuple):
    """A prepared kernel: the float32 (h, w) taps that matter, and columns and rows (n, side) whose products sum to it.

    There are no products where they cost more than taps or a transform.
    """

    taps: np.ndarray
    columns: np.ndarray
    rows: np.ndarray


def filtered(clip: np.ndarray, kernels: Sequence[np.ndarray]) -> np.ndarray:
    """The float32 (T,H,W,3) clip, each frame correlated with its square kernel of odd size, mirrored at the borders.

    The result differs from that of the exact kernels by less than `NEGLIGIBLE` times the largest value.
    """
    result, product = np.empty_like(clip), np.empty_like(clip[0])
    spectra = Spectra()
    for frame, kernel, target in zip(clip, kernels, result, strict=True):
        prepared = _prepared(kernel.tobytes(), len(kernel))
        if len(prepared.columns):
            _filter_products(frame, prepared, target, product)
        elif prepared.taps.size <= LARGEST_AREA:
            cv2.filter2D(frame, -1, prepared.taps, dst=target, borderType=BORDER)
        else:
            spectra.filter(frame, prepared.taps, target)
    return result


@lru_cache(maxsize=64)
def _prepared(data: bytes, size: int) -> Kernel:
    kernel = np.frombuffer(data, np.float32).reshape(size, size).astype(np.float64)
    kept = _without_negligible(kernel)
    window = _window(kept)
    taps = kept[window]
    number, columns, rows = _products(kernel[window])
    direct = CALL + np.count_nonzero(taps) if taps.size <= LARGEST_AREA else SPECTRAL
    if number * (SEPARABLE_CALL + SEPARABLE_TAP * sum(taps.shape)) < direct:
        return Kernel(taps.astype(np.float32), columns, rows)
    return Kernel(taps.astype(np.float32), columns[:0], rows[:0])


def _without_negligible(kernel: np.ndarray) -> np.ndarray:
    order = np.argsort(np.abs(kernel), axis=None)
    lost = np.cumsum(np.abs(kernel).ravel()[order])
    kept = kernel.ravel().copy()
    kept[order[lost < NEGLIGIBLE / 2]] = 0
    return kept.reshape(kernel.shape)


def _window(kernel: np.ndarray) -> tuple[slice, slice]:
    # The smallest centred rectangle with all that is not zero.
    centre = len(kernel) // 2
    down, right = (np.abs(indices - centre).max() for indices in np.nonzero(kernel))
    return slice(centre - down, centre + down + 1), slice(centre - right, centre + right + 1)


def _products(taps: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    # The fewest columns and rows whose products sum to the taps up to what is negligible.
    left, values, right = np.linalg.svd(taps, full_matrices=False)
    columns, rows = (left * values).T, right
    rest = taps.copy()
    number = 0
    while np.abs(rest).sum() >= NEGLIGIBLE / 2:
        rest -= np.outer(columns[number], rows[number])
        number += 1
    return number, columns[:number].astype(np.float32), rows[:number].astype(np.float32)


def _filter_products(frame: np.ndarray, kernel: Kernel, target: np.ndarray, product: np.ndarray) -> None:
    cv2.sepFilter2D(frame, -1, kernel.rows[0], kernel.columns[0], dst=target, borderType=BORDER)
    for column, row in zip(kernel.columns[1:], kernel.rows[1:], strict=True):
        cv2.sepFilter2D(frame, -1, row, column, dst=product, borderType=BORDER)
        cv2.add(target, product, dst=target)


class Spectra:
    """Filtering by the Fourier transform; its arrays are used again for the next frame, as fresh memory is slow."""

    def __init__(self):
        self._taps = self._padded = self._plane = self._spectrum = self._response = None

    def filter(self, frame: np.ndarray, taps: np.ndarray, target: np.ndarray) -> None:
        """Correlate a float32 (H,W,3) frame with float32 (h,w) taps into `target`."""
        height, width = frame.shape[:2]
        down, right = (side // 2 for side in taps.shape)
        size = cv2.getOptimalDFTSize(height + 2 * down), cv2.getOptimalDFTSize(width + 2 * right)
        self._respond(taps, size)
        borders = (down, size[0] - height - down, right, size[1] - width - right)
        cv2.copyMakeBorder(frame, *borders, BORDER, dst=self._padded)
        for channel in range(frame.shape[2]):
            cv2.extractChannel(self._padded, channel, dst=self._plane)
            cv2.dft(self._plane, dst=self._spectrum)
            cv2.mulSpectrums(self._spectrum, self._response, 0, c=self._spectrum, conjB=True)
            cv2.dft(self._spectrum, dst=self._plane, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
            cv2.insertChannel(self._plane[:height, :width], target, channel)

    def _respond(self, taps: np.ndarray, size: tuple[int, int]) -> None:
        if self._padded is None or self._plane.shape != size:
            self._padded, self._taps = np.empty((*size, 3), np.float32), None
            self._plane, self._spectrum, self._response = (np.empty(size, np.float32) for _ in range(3))
        if taps is not self._taps:
            self._plane[:] = 0
            self._plane[: taps.shape[0], : taps.shape[1]] = self._taps = taps
            cv2.dft(self._plane, dst=self._response, nonzeroRows=taps.shape[0])
