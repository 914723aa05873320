import os
import resource
import signal
from fractions import Fraction

import av
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.samples import picture_samples
from seedvr2.io.segments import EARLIEST, SegmentWriter
from tests.io.films import NTSC, decoded, encoding_for, film, moving, noise, segments_of, source_like

CODECS = [
    ("a.mp4", {}),
    ("a.mp4", {"depth": 10}),
    ("a.mov", {"codec": "prores"}),
    ("a.mkv", {"codec": "ffv1"}),
    ("a.webm", {}),
]


def samples_of(frame, depth):
    """The RGB(A) samples of a decoded FFV1 frame, (H,W,C)."""
    if depth == 8:
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)[:, : 4 * frame.width]
        bgra = rows.reshape(frame.height, frame.width, 4)[..., [2, 1, 0, 3]]
        return bgra if frame.format.name == "bgra" else bgra[..., :3]
    planes = [np.frombuffer(p, "<u2").reshape(frame.height, -1)[:, : frame.width] for p in frame.planes]
    return np.stack([planes[i] for i in (2, 0, 1, 3)[: len(planes)]], axis=-1)


@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_ffv1_gives_back_what_was_written(tmp_path, depth, has_alpha):
    bits = 8 if depth == 8 else 16
    pictures = [noise(index, width=33, height=7, bits=bits, alpha=has_alpha) for index in range(3)]
    encoding = encoding_for("a.mkv", codec="ffv1", depth=depth, source=source_like(has_alpha=has_alpha))
    film(tmp_path / "a.mkv", encoding, pictures)
    frames, _ = decoded(tmp_path / "a.mkv")
    assert len(frames) == 3
    for frame, picture in zip(frames, pictures, strict=True):
        written = np.dstack([picture.rgb, picture.alpha]) if has_alpha else picture.rgb
        expected = np.floor(written / (2**bits - 1) * (2**depth - 1) + 0.5)
        assert np.array_equal(samples_of(frame, depth), expected)


def test_opaque_pictures_among_transparent_ones_are_opaque(tmp_path):
    encoding = encoding_for("a.mkv", source=source_like(has_alpha=True))
    film(tmp_path / "a.mkv", encoding, [noise(0, alpha=True), noise(1)])
    frames, _ = decoded(tmp_path / "a.mkv")
    assert samples_of(frames[0], 8)[..., 3].min() < 10
    assert samples_of(frames[1], 8)[..., 3].min() == 255


@pytest.mark.parametrize(
    ("name", "wishes", "limit"),
    [
        ("a.mp4", {}, 3.0),
        ("a.mp4", {"depth": 10, "chroma": "4:4:4", "crf": 4}, 1.0),
        ("a.mkv", {"depth": 12, "chroma": "4:4:4", "crf": 4}, 1.0),
        ("a.mov", {"codec": "prores"}, 2.0),
        ("a.webm", {"crf": 4}, 3.0),
        ("a.webm", {"depth": 10, "crf": 4}, 3.0),
    ],
)
def test_colours_come_back_by_the_tags(tmp_path, name, wishes, limit):
    pictures = [moving(index, bits=16) for index in range(4)]
    film(tmp_path / name, encoding_for(name, **wishes), pictures)
    frames, _ = decoded(tmp_path / name)
    assert len(frames) == 4
    for frame, picture in zip(frames, pictures, strict=True):
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
        rgb, _ = picture_samples(frame, 16)
        assert np.abs(rgb.astype(float) - picture.rgb).mean() / 257 < limit


@pytest.mark.parametrize(("name", "wishes"), CODECS)
def test_segments_know_nothing_of_each_other(tmp_path, name, wishes):
    pictures = [moving(index) for index in range(12)]
    encoding = encoding_for(name, **wishes)
    _, together = segments_of(tmp_path / "together", encoding, pictures, cuts=(5,))
    stamps = [3003 * index for index in range(5, 12)]
    clock = FrameClock(NTSC, time_base=Fraction(1, 90000), origin=Fraction(0))
    _, alone = segments_of(tmp_path / "alone", encoding, pictures[5:], clock=clock, stamps=stamps)
    assert together[1].read_bytes() == alone[0].read_bytes()
    with av.open(str(together[1]), format="matroska") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert packets[0].is_keyframe
    ticks = [round(Fraction(pts, 90000) / clock.time_base) for pts in stamps]
    assert sorted(packet.pts - EARLIEST for packet in packets) == ticks


@pytest.mark.parametrize("mistake", [UserError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_nothing_is_left_of_an_unfinished_segment(tmp_path, mistake, name):
    encoding = encoding_for(name, is_folder=name == "a.png")
    clock = FrameClock(NTSC)
    path = tmp_path / "segment"

    def broken():
        with SegmentWriter(path, encoding, width=64, height=48, clock=clock) as writer:
            writer.write(moving(0), clock.tick(None))
            assert os.listdir(tmp_path) == [".segment.part"]
            raise mistake("stop")

    with pytest.raises(mistake):
        broken()
    assert os.listdir(tmp_path) == []
    segments_of(tmp_path, encoding, [moving(0)])
    assert os.listdir(tmp_path) == ["00000.segment"]


@pytest.mark.parametrize("name", ["a.mkv", "a.png"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, name):
    encoding = encoding_for(name, codec="ffv1" if name == "a.mkv" else None, is_folder=name == "a.png", width=256)
    pictures = [noise(index, width=256, height=256) for index in range(4)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(UserError, match=r"segment cannot be written \(File too large\); make room"):
            segments_of(tmp_path, encoding, pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_sizes_that_an_encoder_refuses_are_the_users_mistake(tmp_path):
    encoding = encoding_for("a.mp4", codec="av1", width=2, height=2)
    with pytest.raises(UserError, match="av1 does not take 2x2 pixels"):
        segments_of(tmp_path, encoding, [moving(0, width=2, height=2)])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("size", "wishes", "stored"), [((63, 47), {"chroma": "4:2:0"}, (64, 48)), ((1, 1), {}, (1, 1))]
)
def test_odd_sizes_grow_by_their_own_last_row_and_column(tmp_path, size, wishes, stored):
    width, height = size
    encoding = encoding_for("a.mp4", width=width, height=height, crf=1, **wishes)
    picture = moving(0, width=width, height=height)
    film(tmp_path / "a.mp4", encoding, [picture])
    (frame,), _ = decoded(tmp_path / "a.mp4")
    assert (frame.width, frame.height) == stored
    rgb = frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(rgb[:height, :width] - picture.rgb).mean() < 6
    assert np.abs(rgb[-1] - rgb[height - 1]).mean() < 3
