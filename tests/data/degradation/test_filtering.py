"""Properties of filtering: whatever the way, the result is that of OpenCV's plain filter."""

import cv2
import numpy as np
import pytest

from seedvr2.data.degradation.filtering import LARGEST_AREA, NEGLIGIBLE, _prepared, filtered
from seedvr2.data.degradation.kernels import gaussian_kernel, sinc_kernel

KERNELS = {
    "separable": ("products", gaussian_kernel(21, (2.5, 2.5))),
    "nearly separable": ("products", gaussian_kernel(13, (2.0, 2.0)) * 2 - gaussian_kernel(13, (1.2, 1.2))),
    "small": ("taps", gaussian_kernel(9, (2.0, 0.7), rotation=0.6)),
    "small in a large one": ("taps", gaussian_kernel(21, (0.9, 0.4), rotation=0.6)),
    "nothing": ("taps", gaussian_kernel(7, (0.05, 0.05))),
    "plateau": ("spectrum", gaussian_kernel(21, (3.0, 2.0), beta=1.3, is_plateau=True)),
    "ringing": ("spectrum", sinc_kernel(17, 1.0)),
    "uneven": ("spectrum", np.random.default_rng(0).random((13, 13), dtype=np.float32) / 85),
}


def pictures(frames, height, width):
    return np.random.default_rng(3).random((frames, height, width, 3), dtype=np.float32)


def way(kernel):
    prepared = _prepared(kernel.tobytes(), len(kernel))
    if len(prepared.columns):
        return "products"
    return "taps" if prepared.taps.size <= LARGEST_AREA else "spectrum"


def plain(clip, kernels):
    pairs = zip(clip, kernels, strict=True)
    return np.stack([cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REFLECT_101) for frame, kernel in pairs])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [(40, 61), (24, 24), (7, 30), (1, 1), (2, 5)])
def test_every_way_gives_what_the_plain_filter_gives(name, size):
    expected, kernel = KERNELS[name]
    assert way(kernel) == expected
    clip = pictures(2, *size)
    error = np.abs(filtered(clip, [kernel] * 2) - plain(clip, [kernel] * 2)).max()
    assert error < NEGLIGIBLE + 3e-6


def test_kernels_may_change_from_frame_to_frame_and_the_clip_is_left_alone():
    kernels = [kernel for _, kernel in [*KERNELS.values(), *reversed(KERNELS.values())]]
    clip = pictures(len(kernels), 30, 44)
    before = clip.copy()
    assert np.abs(filtered(clip, kernels) - plain(clip, kernels)).max() < NEGLIGIBLE + 3e-6
    assert np.array_equal(clip, before)
    assert np.array_equal(filtered(clip, kernels), filtered(clip, kernels))


def test_what_is_negligible_is_left_out():
    prepared = _prepared(KERNELS["small in a large one"][1].tobytes(), 21)
    assert prepared.taps.shape[0] < 21
    lost = 1 - np.abs(prepared.taps.astype(float)).sum()
    assert 0 < lost < NEGLIGIBLE
    assert np.count_nonzero(prepared.taps) < prepared.taps.size
