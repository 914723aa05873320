"""Properties of video decoding: orientation, colour, windows, damage."""

import contextlib
import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.reader import is_video, open_video, read_frames
from seedvr2.io.window import Landmark, count_frames, read_beyond, read_window

FRAMES, HEIGHT, WIDTH = 23, 48, 64


def moving_squares(frames=FRAMES, height=HEIGHT, width=WIDTH):
    clip = np.full((frames, height, width, 3), 40, np.uint8)
    for time in range(frames):
        clip[time, 8:24, 2 * time : 2 * time + 16] = (220, 10 * time % 256, 90)
    return clip


def write_video(path, clip, *, codec="libx264", options=None, pixels="yuv420p", color=None, gop=7):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(24000, 1001), options=options or {})
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = pixels, gop
        stream.codec_context.thread_count = 1
        if color is not None:
            stream.codec_context.colorspace = color
        for array in clip:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if color == 1:
                frame = frame.reformat(format=pixels, dst_colorspace="ITU709")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("reader") / "squares.mp4", moving_squares())


def test_lossless_video_comes_back_exactly(tmp_path):
    clip = moving_squares()
    path = write_video(tmp_path / "clip.mkv", clip, codec="ffv1", pixels="bgr0")
    assert np.array_equal(np.stack(list(read_frames(path))), clip)


def test_windows_equal_sequential_frames(video):
    whole = np.stack(list(read_frames(video)))
    assert len(whole) == count_frames(video) == FRAMES
    for start, count in [(0, 1), (0, FRAMES), (6, 2), (7, 5), (13, 1), (FRAMES - 1, 1), (3, 17)]:
        assert np.array_equal(read_window(video, start, count, threads=1), whole[start : start + count])


def test_windows_work_without_time_stamps(tmp_path):
    path = write_video(tmp_path / "raw.h264", moving_squares())
    whole = np.stack(list(read_frames(path)))
    assert count_frames(path) == FRAMES
    assert np.array_equal(read_window(path, 9, 4), whole[9:13])


def test_info_describes_the_stream(video):
    with open_video(video) as opened:
        info = opened.info
        times = [pts for _, pts in opened.frames()]
    assert (info.width, info.height, info.frames, info.rate) == (WIDTH, HEIGHT, FRAMES, Fraction(24000, 1001))
    assert (info.codec, info.pixel_format, info.bits, info.rotation) == ("h264", "yuv420p", 8, 0)
    assert not info.is_high_dynamic_range
    assert np.allclose(np.diff(times) * float(info.time_base), 1001 / 24000)


def test_sixteen_bit_frames_agree_with_eight_bit_frames(video):
    with open_video(video) as opened:
        fine, _ = next(opened.frames(bits=16))
    coarse = next(iter(read_frames(video)))
    assert fine.dtype == np.uint16
    # The two conversion paths of FFmpeg round differently.
    assert np.abs(fine / 257.0 - coarse).max() <= 3


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotated_video_is_upright(tmp_path, video, turns):
    path = tmp_path / "rotated.mp4"
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90 * turns)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with open_video(path) as opened:
        frame, _ = next(opened.frames())
        assert opened.info.rotation == 90 * turns
        assert (opened.info.height, opened.info.width) == frame.shape[:2]
    assert np.array_equal(frame, np.rot90(next(iter(read_frames(video))), k=turns))


def test_untagged_high_definition_is_read_as_bt709(tmp_path):
    red = np.zeros((1, 720, 64, 3), np.uint8)
    red[..., 0] = 255
    path = write_video(tmp_path / "red.mp4", red, options={"qp": "0"}, pixels="yuv444p")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == 2
        expected = frame.to_ndarray(format="rgb24", src_colorspace="ITU709")
        wrong = frame.to_ndarray(format="rgb24")
    pixels = next(iter(read_frames(path)))
    assert np.array_equal(pixels, expected)
    assert not np.array_equal(pixels, wrong)


def test_tagged_bt709_keeps_its_matrix(tmp_path):
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    path = write_video(tmp_path / "red.mp4", red, options={"qp": "0"}, pixels="yuv444p", color=1)
    assert np.abs(next(iter(read_frames(path))).astype(int) - red[0]).max() <= 2


def test_a_truncated_file_yields_its_beginning_and_says_so(tmp_path, video, caplog):
    path = write_video(tmp_path / "whole.ts", moving_squares(60))
    cut = tmp_path / "cut.ts"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING, logger="seedvr2"), open_video(cut) as opened:
        frames = [frame for frame, _ in opened.frames()]
        is_damaged = opened.damaged > 0 or opened.is_truncated
    assert 0 < len(frames) < 60
    assert is_damaged == ("damaged" in caplog.text)


def test_bad_files_are_named(tmp_path, video):
    empty, text, sound = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "sound.wav"
    empty.touch()
    text.write_text("not a video at all\n" * 20)
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    cases = [
        (tmp_path / "absent.mp4", "does not exist"),
        (tmp_path, "not a file"),
        (empty, "is empty"),
        (text, "cannot be read|no video stream"),
        (sound, "no video stream"),
    ]
    for path, message in cases:
        with pytest.raises(UserError, match=message):
            open_video(path)
    with pytest.raises(UserError, match=f"has {FRAMES} frames"):
        read_window(video, FRAMES - 1, 2)


def test_video_names_are_recognised():
    assert is_video("a/b.MP4")
    assert is_video("x.mts")
    assert not is_video("x.png")
    assert not is_video("mp4")


@pytest.mark.parametrize("fps", [0.0, 24000 / 1001])
@pytest.mark.parametrize("as_file", [False, True])
def test_windows_beyond_a_landmark_equal_sequential_frames(video, fps, as_file):
    whole = np.stack(list(read_frames(video)))
    with open_video(video) as opened:
        stamps = [frame.pts for frame in opened.decoded()]
    for number, skip, count in [(0, 0, 1), (0, 0, FRAMES), (3, 9, 5), (7, 0, 16), (11, 11, 1), (6, 1, 8)]:
        landmark = Landmark(number, stamps[number], fps)
        with video.open("rb") if as_file else contextlib.nullcontext() as file:
            found = read_beyond(video, landmark, skip, count, file=file, threads=1)
        assert np.array_equal(found, whole[number + skip : number + skip + count])


@pytest.mark.parametrize("landmark", [Landmark(4, None), Landmark(4, 77, 10.0), Landmark(4, 10**9), Landmark(4, 4004)])
def test_a_wrong_landmark_is_found_out_and_frames_are_counted(video, landmark):
    whole = np.stack(list(read_frames(video)))
    assert np.array_equal(read_beyond(video, landmark, 5, 6), whole[9:15])


def test_windows_beyond_a_landmark_that_the_file_does_not_hold_are_refused(video):
    with pytest.raises(UserError, match=f"frames {FRAMES - 2} to {FRAMES + 1}"):
        read_beyond(video, Landmark(FRAMES - 2, None), 0, 4)


def test_uneven_stamps_do_not_mislead(tmp_path):
    path = tmp_path / "uneven.mkv"
    clip = moving_squares()
    stamps = [7 * number + number % 3 for number in range(FRAMES)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=100, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for array, stamp in zip(clip, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for fps in (0.0, 1000 / 7):
        assert np.array_equal(read_beyond(path, Landmark(2, stamps[2], fps), 6, 9), clip[8:17])


def test_tags_in_an_unknown_alphabet_do_not_matter(tmp_path):
    path = write_video(tmp_path / "clip.avi", moving_squares(), codec="mpeg4")
    data = path.read_bytes()
    title = b"INAM\x06\x00\x00\x00caf\xe9s\x00"
    info = b"LIST" + (4 + len(title)).to_bytes(4, "little") + b"INFO" + title
    at = data.index(b"LIST", data.index(b"strf"))  # between the headers and the pictures
    path.write_bytes(data[:4] + (len(data) + len(info) - 8).to_bytes(4, "little") + data[8:at] + info + data[at:])
    with av.open(str(path), metadata_errors="replace") as container:
        assert container.metadata
    assert count_frames(path) == len(list(read_frames(path))) == FRAMES
