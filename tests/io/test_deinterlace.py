"""Properties of deinterlacing: as many frames with the same stamps, no combs, and progressive frames untouched."""

from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest

from seedvr2.io.deinterlace import deinterlaced

HEIGHT, WIDTH, FRAMES = 96, 128, 7


def bars(position):
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    picture[:, position : position + 30] = 200
    return picture


def write(path, *, is_interlaced):
    """A bar that moves sideways, 4 pixels from field to field."""
    with av.open(str(path), "w") as container:
        options = {"flags": "+ilme+ildct"} if is_interlaced else {}
        stream = container.add_stream("mpeg2video", rate=Fraction(25), options={**options, "qmin": "1", "qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for time in range(FRAMES):
            picture = bars(8 * time)
            if is_interlaced:
                picture[1::2] = bars(8 * time + 4)[1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decode(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def combs(frame):
    luma = frame.to_ndarray(format="gray").astype(int)
    return np.abs(2 * luma[1:-1] - luma[:-2] - luma[2:]).mean()


@pytest.mark.parametrize("count", [1, 2, FRAMES])
def test_every_frame_comes_out_with_its_stamp(tmp_path, count):
    frames = decode(write(tmp_path / "interlaced.ts", is_interlaced=True))[:count]
    assert all(frame.interlaced_frame for frame in frames)
    whole = list(deinterlaced(frames))
    assert [frame.pts for frame in whole] == [frame.pts for frame in frames]
    assert not any(frame.interlaced_frame for frame in whole)


def test_combs_vanish(tmp_path):
    frames = decode(write(tmp_path / "interlaced.ts", is_interlaced=True))
    before, after = (np.array([combs(frame) for frame in some]) for some in (frames, deinterlaced(frames)))
    assert before.min() > 5
    assert (after[1:-1] < before[1:-1] / 4).all()


def test_progressive_frames_are_passed_on_untouched(tmp_path):
    frames = decode(write(tmp_path / "progressive.ts", is_interlaced=False))
    assert all(same is frame for same, frame in zip(deinterlaced(frames), frames, strict=True))


def test_frames_pass_through_one_by_one(tmp_path):
    frames = decode(write(tmp_path / "interlaced.ts", is_interlaced=True))
    taken = []
    source = (taken.append(frame) or frame for frame in frames)
    assert len(list(islice(deinterlaced(source), 2))) == 2
    assert len(taken) == 3


def test_a_change_of_size_loses_no_frame(tmp_path):
    frames = decode(write(tmp_path / "interlaced.ts", is_interlaced=True))
    small = [frame.reformat(width=64, height=48) for frame in frames]
    sizes = [(frame.width, frame.height) for frame in deinterlaced([*frames, *small])]
    assert sizes == [(WIDTH, HEIGHT)] * FRAMES + [(64, 48)] * FRAMES
