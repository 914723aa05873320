import os
import resource
from fractions import Fraction

import av
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.reader import open_video, read_frames
from seedvr2.io.writer import VideoWriter, check_writable


def picture(index, height=48, width=64):
    """A smooth coloured picture that moves with its index."""
    rows, columns = np.mgrid[:height, :width] / 16
    waves = [np.sin(rows + 0.3 * index), np.cos(columns), np.sin(rows + columns)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def write(path, frames, **options):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width=width, height=height, **{"rate": Fraction(25), **options}) as writer:
        for frame in frames:
            writer.write(frame)
    return writer


def sounding(path, codec="aac", *, seconds=1.0, rate=48000):
    """A file with ten frames per second of picture and a tone."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="stereo")
        for index in range(round(10 * seconds)):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        wave = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 440 / rate)
        tone = av.AudioFrame.from_ndarray(
            np.repeat((wave * 9000).astype(np.int16), 2)[None], format="s16", layout="stereo"
        )
        tone.sample_rate, tone.pts, tone.time_base = rate, 0, Fraction(1, rate)
        container.mux(sound.encode(tone))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    return path


def sound_packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, [
            (float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(stream) if packet.size
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pictures_come_back_visually_lossless_and_tagged(tmp_path, suffix):
    frames = [picture(index) for index in range(5)]
    writer = write(tmp_path / f"a{suffix}", frames)
    back = list(read_frames(writer.path))
    error = np.mean((np.stack(back).astype(float) - np.stack(frames)) ** 2)
    assert len(back) == 5
    assert 10 * np.log10(255**2 / error) > 38
    with open_video(writer.path) as video:
        info = video.info
    assert info.codec == "h264"
    assert info.pixel_format == "yuv420p"
    assert (info.color_primaries, info.color_curve, info.colorspace, info.color_range) == (1, 1, 1, 1)
    assert writer.notes == []
    assert os.listdir(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)])
def test_flat_colors_survive_the_matrix(tmp_path, color):
    write(tmp_path / "a.mp4", [np.full((32, 32, 3), color, np.uint8)])
    (frame,) = read_frames(tmp_path / "a.mp4")
    assert np.abs(frame.astype(int) - color).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(7, 33), (359, 64), (48, 65), (1, 1)])
def test_odd_sizes_are_kept_in_444(tmp_path, height, width):
    writer = write(tmp_path / "a.mp4", [picture(0, height, width)])
    with open_video(writer.path) as video:
        assert (video.info.height, video.info.width, video.info.pixel_format) == (height, width, "yuv444p")
    assert "odd" in writer.notes[0]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(277, 12)])
def test_rates_are_exact(tmp_path, rate):
    write(tmp_path / "a.mp4", [picture(index) for index in range(12)], rate=rate)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.info.rate == rate
        assert [pts * video.info.time_base for _, pts in video.frames()] == [index / rate for index in range(12)]


def test_variable_time_stamps_and_pixel_shape_are_kept(tmp_path):
    stamps = [0, 3003, 9009, 12012, 30030]
    options = {"rate": Fraction(30000, 1001), "time_base": Fraction(1, 90000), "sample_aspect": Fraction(16, 11)}
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, **options) as writer:
        for index, pts in enumerate(stamps):
            writer.write(picture(index), pts=pts)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.info.sample_aspect == Fraction(16, 11)
        assert [pts * video.info.time_base for _, pts in video.frames()] == [Fraction(pts, 90000) for pts in stamps]


def test_sound_is_copied_packet_by_packet(tmp_path):
    source = sounding(tmp_path / "source.mp4", "aac")
    writer = write(tmp_path / "a.mp4", [picture(index) for index in range(10)], rate=Fraction(10), sound_of=source)
    assert sound_packets(writer.path) == sound_packets(source)
    assert writer.notes == []


def test_sound_longer_than_the_pictures_is_kept(tmp_path):
    source = sounding(tmp_path / "source.mp4", "aac", seconds=2.0)
    writer = write(tmp_path / "a.mp4", [picture(0)], rate=Fraction(10), sound_of=source)
    assert sound_packets(writer.path) == sound_packets(source)


def test_sound_that_does_not_fit_is_reencoded_and_said(tmp_path):
    source = sounding(tmp_path / "source.mkv", "libopus")
    writer = write(tmp_path / "a.mov", [picture(index) for index in range(10)], rate=Fraction(10), sound_of=source)
    codec, packets = sound_packets(writer.path)
    assert codec == "aac"
    assert packets[-1][0] == pytest.approx(1.0, abs=0.05)
    assert writer.notes == ["opus sound does not fit into .mov, so it is re-encoded as AAC"]


def test_a_file_without_sound_gives_none(tmp_path):
    source = write(tmp_path / "source.mp4", [picture(0)]).path
    write(tmp_path / "a.mp4", [picture(0)], sound_of=source)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("mistake", [UserError, KeyboardInterrupt])
@pytest.mark.parametrize("frames", [0, 3])
def test_nothing_is_left_of_an_unfinished_file(tmp_path, mistake, frames):
    def broken():
        with VideoWriter(tmp_path / "a.mp4", width=64, height=48, rate=Fraction(25)) as writer:
            for index in range(frames):
                writer.write(picture(index))
            assert os.listdir(tmp_path) == ["..a.mp4.segment.part"]
            raise mistake("stop")

    with pytest.raises(mistake):
        broken()
    assert os.listdir(tmp_path) == []


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    with pytest.raises(UserError), VideoWriter(path, width=64, height=48, rate=Fraction(25)):
        raise UserError("stop")
    assert path.read_text() == "old"
    write(path, [picture(0)])
    assert len(list(read_frames(path))) == 1


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written"):
            write(tmp_path / "a.mkv", [noise] * 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [(48, 64), (7, 33), (1, 1), (720, 1280)])
def test_lossless_pictures_come_back_bit_for_bit(tmp_path, size):
    noise = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    writer = write(tmp_path / "a.mkv", list(noise), is_lossless=True)
    assert np.array_equal(list(read_frames(writer.path)), noise)
    with open_video(writer.path) as video:
        assert (video.info.codec, video.info.rate) == ("ffv1", Fraction(25))
    assert writer.notes == []


def test_lossless_files_of_equal_pictures_have_equal_bytes(tmp_path):
    frames = [picture(index) for index in range(4)]
    first, again = (write(tmp_path / name, frames, is_lossless=True).path for name in ("a.mkv", "b.mkv"))
    assert first.read_bytes() == again.read_bytes()
    write(tmp_path / "b.mkv", [*frames[:3], frames[3] ^ 1], is_lossless=True)
    assert first.read_bytes() != again.read_bytes()


def test_lossless_files_keep_variable_time_stamps_and_can_be_read_from_any_frame(tmp_path):
    stamps = [0, 40, 120, 160, 400]
    options = {"rate": Fraction(25), "time_base": Fraction(1, 1000), "is_lossless": True}
    with VideoWriter(tmp_path / "a.mkv", width=64, height=48, **options) as writer:
        for index, pts in enumerate(stamps):
            writer.write(picture(index), pts=pts)
    with open_video(tmp_path / "a.mkv") as video:
        assert [pts * video.info.time_base for _, pts in video.frames()] == [Fraction(pts, 1000) for pts in stamps]
    with open_video(tmp_path / "a.mkv") as video:
        assert video.seek(130)
        assert np.array_equal(next(video.frames())[0], picture(2))


def test_lossless_video_needs_its_container_and_keeps_the_shape_of_pixels(tmp_path):
    for name in ("a.mp4", "a.mov"):
        with pytest.raises(UserError, match=r"\.mkv"):
            write(tmp_path / name, [picture(0)], is_lossless=True)
    writer = write(tmp_path / "a.mkv", [picture(0)], is_lossless=True, sample_aspect=Fraction(16, 11))
    with open_video(writer.path) as video:
        assert video.info.sample_aspect == Fraction(16, 11)
    assert os.listdir(tmp_path) == ["a.mkv"]


@pytest.mark.parametrize("name", ["a.webm", "a.avi", "a"])
def test_other_containers_are_the_users_mistake(name, tmp_path):
    with pytest.raises(UserError, match=r"\.mp4"):
        write(tmp_path / name, [picture(0)])


def test_places_that_cannot_be_written_are_the_users_mistake(tmp_path):
    check_writable(tmp_path / "a.mp4")
    for path, match in ((tmp_path, "is a folder"), (tmp_path / "no" / "a.mp4", "does not exist")):
        with pytest.raises(UserError, match=match):
            check_writable(path)
    with pytest.raises(UserError, match="sound"):
        VideoWriter(tmp_path / "a.mp4", width=64, height=48, rate=Fraction(25), sound_of=_text(tmp_path / "text.mp4"))
    assert os.listdir(tmp_path) == ["text.mp4"]


def _text(path):
    path.write_text("not a video")
    return path
