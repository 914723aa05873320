"""Properties of pictures from video files: exact samples, stamps, orientation, transparency, damage, notes."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.media import open_media

RATE = Fraction(24000, 1001)
FRAMES, HEIGHT, WIDTH = 6, 30, 46


def draw(depth=8, channels=3, frames=FRAMES):
    shape = (frames, HEIGHT, WIDTH, channels)
    return np.random.default_rng(0).integers(0, 2**depth, shape).astype(np.uint8 if depth == 8 else np.uint16)


def smooth(frames=FRAMES, height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[0:height, 0:width]
    clip = np.stack([np.stack([60 + x, 90 + y + 3 * time, 200 - x - y], axis=2) for time in range(frames)])
    return clip.clip(0, 255).astype(np.uint8)


def encode(container, frames, codec, pixels, *, options=None, rate=RATE, stamps=None, tags=(2, 2, 2, 0)):
    """Add a stream of `av.VideoFrame`s and fill it; stamps count thousandths of a second."""
    stream = container.add_stream(codec, rate=rate, options=options or {})
    stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixels
    context = stream.codec_context
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
    if stamps:
        context.time_base = stream.time_base = Fraction(1, 1000)
    packets = []
    for number, frame in enumerate(frames):
        frame.colorspace, frame.color_range = tags[0], tags[3]
        if stamps:
            frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    return packets


def write(path, frames, codec, pixels, **options):
    with av.open(str(path), "w") as container:
        container.mux(encode(container, frames, codec, pixels, **options))
    return path


def arrays(clip, pixel_format="rgb24"):
    return [av.VideoFrame.from_ndarray(picture, format=pixel_format) for picture in clip]


def planar(clip, pixel_format):
    """(T,H,W,C) in the order R, G, B, A -> frames of a planar RGB format."""
    frames = []
    for picture in clip:
        frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixel_format)
        for plane, channel in zip(frame.planes, (1, 2, 0, 3), strict=False):
            rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // picture.itemsize), picture.dtype)
            rows[: len(picture), : picture.shape[1]] = picture[..., channel]
            plane.update(rows.tobytes())
        frames.append(frame)
    return frames


def read(path, **options):
    with open_media(path, **options) as media:
        pictures = list(media.pictures())
        assert len({(picture.rgb.shape, picture.rgb.dtype) for picture in pictures}) == 1
        assert all((picture.alpha is not None) == media.info.has_alpha for picture in pictures)
        return pictures, media


def remux(source, target, change):
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        change(stream)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return target


@pytest.mark.parametrize(
    ("pixels", "depth"), [("gbrp10le", 10), ("gbrp12le", 12), ("gbrp16le", 16), ("gbrap10le", 10), ("gbrap16le", 16)]
)
def test_deep_ffv1_is_exact(tmp_path, pixels, depth):
    channels = 4 if "a" in pixels else 3
    clip = draw(depth, channels)
    pictures, media = read(write(tmp_path / "a.mkv", planar(clip, pixels), "ffv1", pixels))
    scaled = np.rint(clip * (65535 / (2**depth - 1))).astype(np.uint16)
    assert np.array_equal(np.stack([picture.rgb for picture in pictures]), scaled[..., :3])
    assert (media.info.bits, media.info.has_alpha, media.info.kind) == (depth, channels == 4, "video")
    if channels == 4:
        assert np.array_equal(np.stack([picture.alpha for picture in pictures]), scaled[..., 3])


@pytest.mark.parametrize(("codec", "suffix", "pixels"), [("ffv1", "mkv", "bgra"), ("qtrle", "mov", "argb")])
def test_eight_bits_with_alpha_are_exact(tmp_path, codec, suffix, pixels):
    clip = draw(channels=4)
    frames = [frame.reformat(format=pixels) for frame in arrays(clip, "rgba")]
    path = write(tmp_path / f"a.{suffix}", frames, codec, pixels)
    for bits, scale in [(None, 1), (16, 257)]:
        pictures, _ = read(path, bits=bits)
        assert np.array_equal(np.stack([picture.rgb for picture in pictures]), clip[..., :3].astype(int) * scale)
        assert np.array_equal(np.stack([picture.alpha for picture in pictures]), clip[..., 3].astype(int) * scale)


def test_deep_files_are_rounded_to_eight_bits_on_request(tmp_path):
    clip = draw(10)
    pictures, media = read(write(tmp_path / "a.mkv", planar(clip, "gbrp10le"), "ffv1", "gbrp10le"), bits=8)
    assert np.array_equal(np.stack([picture.rgb for picture in pictures]), np.rint(clip * (255 / 1023)))
    assert "samples of 10 bits were rounded to 8" in media.info.notes


def test_prores_keeps_its_alpha(tmp_path):
    clip = draw(channels=4)
    clip[..., :3] = 100
    frames = [frame.reformat(format="yuva444p10le") for frame in arrays(clip, "rgba")]
    path = write(
        tmp_path / "a.mov", frames, "prores_ks", "yuva444p10le", options={"profile": "4444", "alpha_bits": "16"}
    )
    pictures, media = read(path)
    assert media.info.bits >= 10
    assert np.abs(np.stack([picture.alpha for picture in pictures]) / 257 - clip[..., 3]).max() < 1


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_transparency_beside_webm_pictures_is_found(tmp_path, codec):
    clip = np.concatenate([smooth(height=31, width=47), smooth(height=31, width=47)[..., :1]], axis=3)
    frames = [frame.reformat(format="yuva420p") for frame in arrays(clip, "rgba")]
    path = tmp_path / "a.webm"
    options = {"crf": "4", "b": "2M", "auto-alt-ref": "0", "deadline": "realtime"}
    with av.open(str(path), "w") as container:
        packets = encode(container, frames, codec, "yuva420p", options=options)
        container.streams.video[0].metadata["alpha_mode"] = "1"
        container.mux(packets)
    pictures, media = read(path)
    assert media.info.has_alpha
    assert len(pictures) == FRAMES
    assert np.abs(np.stack([picture.alpha for picture in pictures]).astype(int) - clip[..., 3]).mean() < 4
    assert np.abs(np.stack([picture.rgb for picture in pictures]).astype(int) - clip[..., :3]).mean() < 8


def test_animated_png_and_gif_keep_alpha_and_stamps(tmp_path):
    clip = draw(channels=4)
    write(tmp_path / "a.apng", arrays(clip, "rgba"), "apng", "rgba", rate=Fraction(10))
    (tmp_path / "a.apng").rename(tmp_path / "a.png")
    pictures, media = read(tmp_path / "a.png")
    assert (media.info.kind, media.info.rate) == ("video", 10)
    assert np.array_equal(np.stack([picture.rgb for picture in pictures]), clip[..., :3])
    assert np.array_equal(np.stack([picture.alpha for picture in pictures]), clip[..., 3])
    frames = [frame.reformat(format="rgb8") for frame in arrays(smooth())]
    pictures, media = read(write(tmp_path / "a.gif", frames, "gif", "rgb8", rate=Fraction(10)))
    assert [float(picture.pts * media.info.time_base) for picture in pictures] == pytest.approx(np.arange(FRAMES) / 10)


def test_stamps_of_variable_rates_and_late_starts_are_kept(tmp_path):
    stamps = [5500, 5533, 5600, 5601, 6000, 9000]
    path = write(tmp_path / "a.mkv", arrays(draw()), "ffv1", "bgr0", stamps=stamps)
    pictures, media = read(path)
    assert [picture.pts * media.info.time_base * 1000 for picture in pictures] == stamps
    assert media.info.start * media.info.time_base * 1000 == 5500


def test_streams_without_stamps_take_the_given_rate(tmp_path):
    path = write(tmp_path / "a.h264", arrays(smooth()), "libx264", "yuv420p")
    pictures, media = read(path, rate=Fraction(12))
    assert [picture.pts for picture in pictures] == [None] * FRAMES
    assert (media.info.rate, media.info.start) == (12, None)
    assert any("no time stamps" in note for note in media.info.notes)
    timed = write(tmp_path / "a.mp4", arrays(smooth()), "libx264", "yuv420p")
    assert read(timed, rate=Fraction(12))[1].info.rate == RATE


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_pictures_are_upright_and_pixels_keep_their_shape(tmp_path, turns):
    path = write(
        tmp_path / "a.mov", [f.reformat(format="argb") for f in arrays(draw(channels=4), "rgba")], "qtrle", "argb"
    )

    def turn(stream):
        stream.set_display_rotation(90 * turns)
        stream.sample_aspect_ratio = Fraction(16, 11)

    pictures, media = read(remux(path, tmp_path / "turned.mov", turn))
    expected = np.rot90(draw(channels=4), k=turns, axes=(1, 2))
    assert np.array_equal(np.stack([picture.rgb for picture in pictures]), expected[..., :3])
    assert np.array_equal(np.stack([picture.alpha for picture in pictures]), expected[..., 3])
    assert (media.info.height, media.info.width) == expected.shape[1:3]
    assert media.info.sample_aspect == (Fraction(11, 16) if turns % 2 else Fraction(16, 11))


def test_tags_are_told_and_high_dynamic_range_is_noted(tmp_path):
    frames = [frame.reformat(format="yuv420p10le") for frame in arrays(smooth())]
    path = write(tmp_path / "a.mkv", frames, "ffv1", "yuv420p10le", tags=(9, 9, 16, 1))
    pictures, media = read(path)
    assert tuple(media.info.colors) == (9, 9, 16, 1)
    assert pictures[0].rgb.dtype == np.uint16
    assert any("PQ curve" in note for note in media.info.notes)


def test_untagged_colours_are_noted_and_tagged_ones_are_not(tmp_path):
    for matrix, count in [(2, 1), (1, 0)]:
        path = write(tmp_path / "a.mp4", arrays(smooth()), "libx264", "yuv420p", tags=(matrix, 2, 2, 1))
        assert sum("no matrix tag" in note for note in read(path)[1].info.notes) == count


def test_unsupported_colours_are_refused_at_once(tmp_path):
    path = write(
        tmp_path / "a.mkv", [f.reformat(format="yuv444p") for f in arrays(draw())], "ffv1", "yuv444p", tags=(8, 2, 2, 1)
    )
    with pytest.raises(UserError, match=r"a\.mkv stores its colours by matrix 8"):
        open_media(path)


def test_interlaced_video_is_deinterlaced_unless_asked_otherwise(tmp_path):
    clip = smooth(height=64, width=64)
    clip[:, 1::2] = 255 - clip[:, 1::2]
    path = write(
        tmp_path / "a.ts", arrays(clip), "mpeg2video", "yuv420p", options={"flags": "+ilme+ildct", "qmax": "2"}, rate=25
    )
    whole, media = read(path)
    fields, kept = read(path, deinterlace=False)
    assert media.info.is_interlaced
    assert kept.info.is_interlaced
    assert [picture.pts for picture in whole] == [picture.pts for picture in fields]
    assert len(whole) == FRAMES
    assert any("were deinterlaced" in note for note in media.info.notes)
    assert any("left so" in note for note in kept.info.notes)
    lines = [np.abs(np.diff(some[2].rgb.astype(int), axis=0)).mean() for some in (whole, fields)]
    assert lines[0] < lines[1] / 4


def test_later_sizes_are_resized_to_the_first(tmp_path):
    large = write(tmp_path / "large.ts", arrays(smooth(height=64, width=96)), "libx264", "yuv420p")
    small = write(tmp_path / "small.ts", arrays(smooth(height=32, width=48)), "libx264", "yuv420p")
    (tmp_path / "both.ts").write_bytes(large.read_bytes() + small.read_bytes())
    pictures, media = read(tmp_path / "both.ts")
    assert len(pictures) == 2 * FRAMES
    assert pictures[-1].rgb.shape == (64, 96, 3)
    assert any("48x32" in note and "96x64" in note for note in media.info.notes)


def test_all_that_a_cut_file_holds_is_read_whatever_the_threads(tmp_path, caplog):
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as container:
        container.mux(encode(container, arrays(draw(frames=40)), "libx264", "yuv420p", options={"g": "8"}))
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    counts = set()
    for threads in (1, 2, 4):
        with caplog.at_level(logging.WARNING, logger="seedvr2"):
            pictures, media = read(tmp_path / "cut.mp4", threads=threads)
        counts.add(len(pictures))
        assert media.is_truncated
        assert any("ends early" in note for note in media.info.notes)
    assert "ends early" in caplog.text
    assert len(counts) == 1
    assert 15 < counts.pop() < 40
    assert not read(tmp_path / "a.mp4")[1].is_truncated


def test_damaged_frames_are_delivered_and_counted(tmp_path):
    path = write(tmp_path / "a.mkv", arrays(draw(frames=20)), "libx264", "yuv420p", options={"g": "20", "bf": "0"})
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, len(data) * 2 // 3, 997):
        data[position] ^= 0x55
    (tmp_path / "damaged.mkv").write_bytes(data)
    pictures, media = read(tmp_path / "damaged.mkv")
    for threads in (1, 2, 4):
        same, _ = read(tmp_path / "damaged.mkv", threads=threads)
        assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(pictures, same, strict=True))
    assert media.damaged > 0
    assert 15 <= len(pictures) <= 20
    assert any("errors" in note for note in media.info.notes)


def test_covers_are_skipped_and_the_default_stream_is_read(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        packets = []
        for number, clip in enumerate([draw(), draw()[..., ::-1]]):
            packets += encode(container, arrays(clip), "ffv1", "bgr0")
            container.streams.video[number].disposition = av.stream.Disposition.default if number else 0
        container.mux(sorted(packets, key=lambda packet: packet.pts))
    pictures, media = read(tmp_path / "a.mkv")
    assert np.array_equal(pictures[0].rgb, draw()[0, ..., ::-1])
    assert any("one of 2 video streams" in note for note in media.info.notes)
