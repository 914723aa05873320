import itertools
import os
import re
import resource
import signal
import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.mux import assemble
from seedvr2.io.picture import Colors
from tests.io.films import decoded, encoding_for, film, moving, noise, segments_of, source_like

CODECS = [
    ("a.mp4", {}),
    ("a.mov", {"chroma": "4:2:2"}),
    ("a.mkv", {}),
    ("a.mp4", {"depth": 10}),
    ("a.mov", {"codec": "prores"}),
    ("a.mkv", {"codec": "ffv1"}),
    ("a.webm", {}),
    ("a.mp4", {"codec": "av1"}),
]


def pixels(frame):
    depth = max(component.bits for component in frame.format.components)
    step = 4 if frame.format.name == "bgr0" else 1 if depth == 8 else 2
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : step * plane.width].tobytes()
        for plane in frame.planes
    ]


def told_by_ffmpeg(path):
    """What an FFmpeg of its own says of a file, and the frames that it decodes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True)
    return done.stderr, int(re.findall(r"frame=\s*(\d+)", done.stderr)[-1])


@pytest.mark.parametrize(("name", "wishes"), CODECS)
@pytest.mark.parametrize(("count", "cuts"), [(1, ()), (2, (1,)), (3, (1, 2)), (25, (9, 10))])
def test_every_frame_arrives_in_order(tmp_path, name, wishes, count, cuts):
    pictures = [moving(index) for index in range(count)]
    encoding = encoding_for(name, **wishes)
    clock, segments = segments_of(tmp_path, encoding, pictures, cuts=cuts)
    assert assemble(tmp_path / name, segments, encoding, source=None, clock=clock) == []
    frames, times = decoded(tmp_path / name)
    tolerance = Fraction(1, 1999) if name.endswith(("mkv", "webm")) else 0
    assert len(frames) == count
    assert all(abs(time - Fraction(1001, 30000) * index) <= tolerance for index, time in enumerate(times))
    alone = []
    for index, segment in enumerate(segments):
        assemble(tmp_path / f"{index}{name}", [segment], encoding, source=None, clock=clock)
        alone += decoded(tmp_path / f"{index}{name}")[0]
    assert [pixels(frame) for frame in frames] == [pixels(frame) for frame in alone]


def test_a_long_film_of_several_segments_reorders_frames_without_harm(tmp_path):
    pictures = [moving(index) for index in range(250)]
    encoding = encoding_for("a.mp4")
    film(tmp_path / "a.mp4", encoding, pictures, cuts=(1, 4, 100, 249))
    text, count = told_by_ffmpeg(tmp_path / "a.mp4")
    assert count == 250
    assert "29.97 fps" in text
    assert "non monoton" not in text
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(packets))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets)
    frames, _ = decoded(tmp_path / "a.mp4")
    for index, frame in enumerate(frames):
        near = range(max(0, index - 2), min(250, index + 3))
        rgb = frame.to_ndarray(format="rgb24").astype(int)
        assert min(near, key=lambda other: np.abs(rgb - pictures[other].rgb).mean()) == index


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60000, 1001), Fraction(25), Fraction(1, 2)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rates_are_exact(tmp_path, rate, suffix):
    clock = FrameClock(rate, time_base=Fraction(1, 1000))
    stamps = [round(index / rate * 1000) for index in range(10)]
    path = tmp_path / f"a{suffix}"
    film(path, encoding_for(path), [moving(i) for i in range(10)], clock=clock, stamps=stamps, cuts=(4,))
    _, times = decoded(path)
    tolerance = Fraction(1, 1999) if suffix == ".mkv" else 0
    assert all(abs(time - index / rate) <= tolerance for index, time in enumerate(times))
    with av.open(str(path)) as container:
        guess = container.streams.video[0].guessed_rate
    assert abs(guess - rate) <= (rate / 250 if suffix == ".mkv" else 0)  # Matroska's is guessed from milliseconds


@pytest.mark.parametrize(("name", "tolerance"), [("a.mp4", 0), ("a.mov", 0), ("a.mkv", Fraction(1, 1999))])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), None])
def test_variable_time_stamps_survive(tmp_path, name, tolerance, rate):
    stamps = [90 + 3003 * step for step in (0, 1, 3, 4, 10, 11, 40, 41)]
    clock = FrameClock(rate, time_base=Fraction(1, 90000), origin=Fraction(0))
    film(tmp_path / name, encoding_for(name), [moving(i) for i in range(8)], clock=clock, stamps=stamps, cuts=(3, 5))
    _, times = decoded(tmp_path / name)
    assert all(abs(time - Fraction(pts, 90000)) <= tolerance for time, pts in zip(times, stamps, strict=True))


@pytest.mark.parametrize(("name", "wishes"), [*CODECS, ("a.mkv", {"codec": "prores"}), ("a.webm", {"depth": 10})])
@pytest.mark.parametrize("sample_aspect", [Fraction(16, 11), Fraction(59, 61)])
def test_the_shape_of_pixels_is_kept(tmp_path, name, wishes, sample_aspect):
    pictures = [moving(index) for index in range(3)]
    assert film(tmp_path / name, encoding_for(name, **wishes), pictures, sample_aspect=sample_aspect) == []
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].sample_aspect_ratio == sample_aspect
        assert len(list(container.decode(video=0))) == 3
    text, count = told_by_ffmpeg(tmp_path / name)
    assert f"SAR {sample_aspect.numerator}:{sample_aspect.denominator}" in text
    assert count == 3


@pytest.mark.parametrize(("name", "wishes"), CODECS)
@pytest.mark.parametrize("colors", [Colors(), Colors(9, 9, 14, 1), Colors(5, 6, 6, 1)])
def test_colour_tags_read_back_as_written(tmp_path, name, wishes, colors):
    encoding = encoding_for(name, source=source_like(colors=colors), **wishes)
    film(tmp_path / name, encoding, [moving(0)])
    (frame,), _ = decoded(tmp_path / name)
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == encoding.colors


def test_hdr_is_told_by_the_container_and_the_stream(tmp_path):
    source = source_like(colors=Colors(9, 9, 16, 1), bits=10)
    film(tmp_path / "a.mp4", encoding_for("a.mp4", source=source, depth=10), [moving(0, bits=16)])
    text, _ = told_by_ffmpeg(tmp_path / "a.mp4")
    assert "hevc (Main 10) (hvc1" in text
    assert "yuv420p10le(tv, bt2020nc/bt2020/smpte2084" in text


@pytest.mark.parametrize(("name", "codec"), [("a.mov", None), ("a.webm", "libvpx-vp9"), ("a.mkv", "libvpx-vp9")])
def test_transparency_survives(tmp_path, name, codec):
    wishes = {"codec": "vp9"} if name == "a.mkv" else {}
    pictures = [moving(index, bits=16, alpha=True) for index in range(6)]
    encoding = encoding_for(name, source=source_like(has_alpha=True), **wishes)
    film(tmp_path / name, encoding, pictures, cuts=(2,))
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create(codec, "r") if codec else stream.codec_context
        packets = [packet if packet.size else None for packet in container.demux(stream)]
        frames = [frame for packet in packets for frame in decoder.decode(packet)]
    assert len(frames) == 6
    for frame, picture in zip(frames, pictures, strict=True):
        alpha = frame.to_ndarray(format="rgba")[..., 3].astype(int)
        assert np.abs(alpha - picture.alpha / 257).mean() < 4


@pytest.mark.parametrize(("name", "wishes"), CODECS)
def test_equal_pictures_give_equal_bytes(tmp_path, name, wishes):
    pictures = [moving(index) for index in range(20)]
    written = []
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
        film(tmp_path / folder / name, encoding_for(name, **wishes), pictures, cuts=(8,))
        written.append((tmp_path / folder / name).read_bytes())
    assert written[0] == written[1]


def test_the_index_lies_in_front(tmp_path):
    film(tmp_path / "a.mp4", encoding_for("a.mp4"), [moving(index) for index in range(3)])
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_segments_of_another_encoder_are_not_joined(tmp_path):
    clock, first = segments_of(tmp_path / "a", encoding_for("a.mp4", crf=20), [moving(0)])
    other = FrameClock(Fraction(30000, 1001), time_base=Fraction(1, 90000), origin=Fraction(0))
    whole = encoding_for("a.mp4", chroma="4:4:4")
    _, later = segments_of(tmp_path / "b", whole, [moving(0)], clock=other, stamps=[9009])
    with pytest.raises(UserError, match="another version"):
        assemble(tmp_path / "a.mp4", [*first, *later], encoding_for("a.mp4"), source=None, clock=clock)
    (tmp_path / "text").write_text("not a segment")
    with pytest.raises(UserError, match="text is damaged"):
        assemble(tmp_path / "a.mp4", [tmp_path / "text"], encoding_for("a.mp4"), source=None, clock=clock)
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".mp4", ".part"))]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_full_disk_is_one_sentence_and_keeps_the_older_file(tmp_path, name):
    encoding = encoding_for(name, width=256, height=256)
    clock, segments = segments_of(tmp_path / "work", encoding, [noise(i, width=256, height=256) for i in range(4)])
    (tmp_path / name).write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(UserError, match=rf"{name} cannot be written \(File too large\); make room"):
            assemble(tmp_path / name, segments, encoding, source=None, clock=clock)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / name).read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == sorted([name, "work"])
