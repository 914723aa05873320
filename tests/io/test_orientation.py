"""Properties of display matrices: every pixel goes where the matrix puts it."""

from types import SimpleNamespace

import numpy as np
import pytest

from seedvr2.io.orientation import Orientation, side_data_of

UNIT = 65536
MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


class DisplayMatrix(bytes):
    type = SimpleNamespace(name="DISPLAYMATRIX")


def frame_with(a, b, c, d):
    matrix = np.array([a * UNIT, b * UNIT, 0, c * UNIT, d * UNIT, 0, 0, 0, 1 << 30], np.int32)
    return SimpleNamespace(side_data=[DisplayMatrix(matrix.tobytes())])


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_pixel_goes_where_the_matrix_puts_it(matrix):
    a, b, c, d = matrix
    picture = np.arange(3 * 5 * 2).reshape(3, 5, 2)
    points = {(a * x + c * y, b * x + d * y): picture[y, x] for y in range(3) for x in range(5)}
    left, top = (min(point[axis] for point in points) for axis in (0, 1))
    orientation = Orientation.of(frame_with(*matrix))
    upright = orientation.apply(picture)
    assert not orientation.is_oblique
    assert upright.shape[0] * upright.shape[1] == len(points) == 15
    for (x, y), value in points.items():
        assert np.array_equal(upright[y - top, x - left], value)


def test_frames_without_a_matrix_stay_as_they_are():
    picture = np.arange(6).reshape(2, 3)
    assert Orientation.of(SimpleNamespace(side_data=[])) == Orientation()
    assert np.array_equal(Orientation().apply(picture), picture)


def test_oblique_angles_are_told_apart():
    assert Orientation.of(frame_with(0.87, -0.5, 0.5, 0.87)) == Orientation(is_oblique=True)


@pytest.mark.parametrize("turns", range(4))
def test_data_of_unknown_kinds_leave_the_rotation(turns):
    class Frame:
        rotation = 90 * turns

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    picture = np.arange(6).reshape(2, 3)
    assert np.array_equal(Orientation.of(Frame()).apply(picture), np.rot90(picture, turns))
    assert side_data_of(Frame()) == []
