"""What probing says about files of known content; headers are made to lie where they can."""

import os
import re
from collections import Counter
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from seedvr2.data.indexing.probe import probe
from seedvr2.io.reader import read_frames
from tests.data.clips import HEIGHT, WIDTH, pan, texture, write_clip, write_sound


def test_a_plain_clip_is_described(tmp_path):
    facts = probe(write_clip(tmp_path / "a.mp4", pan(0, 15), rate=Fraction(30000, 1001)), "video")
    (shot,) = facts.shots
    assert (facts.problem, facts.codec, facts.pixel_format, facts.bits) == ("", "h264", "yuv420p", 8)
    assert (shot.start, shot.frames, shot.width, shot.height, shot.pts) == (0, 15, WIDTH, HEIGHT, 0)
    assert facts.fps == pytest.approx(30000 / 1001)
    assert facts.size == (tmp_path / "a.mp4").stat().st_size
    assert not any([facts.is_variable, facts.lacks_times, facts.repeats_times, facts.is_hdr, facts.is_interlaced])


def test_shots_of_a_file_are_told_apart(tmp_path):
    facts = probe(write_clip(tmp_path / "a.mp4", pan(0, 8) + pan(1, 12), rate=25), "video")
    assert [(shot.start, shot.frames) for shot in facts.shots] == [(0, 8), (8, 12)]
    one, other = (shot.pts for shot in facts.shots)
    assert (one, other) == (0, 8 * 12800 // 25)  # MP4 counts 1/12800 s at 25 frames per second


def test_variable_rates_are_told_from_rounded_stamps(tmp_path):
    steps = [3003, 3003, 6006, 3003, 9009, 3003, 3003, 3003]
    stamps = [0, *np.cumsum(steps).tolist()]
    facts = probe(write_clip(tmp_path / "a.mp4", pan(0, 9), stamps=stamps), "video")
    assert facts.is_variable
    assert facts.fps == pytest.approx(8 * 90000 / sum(steps))
    rounded = probe(write_clip(tmp_path / "b.mkv", pan(0, 9), rate=Fraction(30000, 1001)), "video")
    assert not rounded.is_variable  # stamps are 0, 33, 67, 100 ms


def test_rotated_clips_have_upright_sizes(tmp_path):
    facts = probe(write_clip(tmp_path / "a.mp4", pan(0, 6), rotation=90), "video")
    assert (facts.rotation, facts.shots[0].width, facts.shots[0].height) == (90, HEIGHT, WIDTH)


def test_streams_without_stamps_say_so(tmp_path):
    facts = probe(write_clip(tmp_path / "a.h264", pan(0, 12)), "video")
    assert facts.lacks_times
    assert [(shot.frames, shot.pts) for shot in facts.shots] == [(12, None)]


def test_a_repeated_film_is_not_trusted_in_its_stamps(tmp_path):
    path = write_clip(tmp_path / "a.ts", pan(0, 10), codec="mpeg2video")
    path.write_bytes(2 * path.read_bytes())
    facts = probe(path, "video")
    assert facts.repeats_times
    assert sum(shot.frames for shot in facts.shots) == 20
    assert facts.fps == pytest.approx(25)


@pytest.mark.parametrize("size", [(HEIGHT // 2, WIDTH // 2), (HEIGHT, WIDTH // 2)])
def test_a_change_of_size_begins_a_shot(tmp_path, size):
    path = write_clip(tmp_path / "a.ts", [texture(0)] * 8, codec="mpeg2video")
    smaller = write_clip(tmp_path / "b.ts", [cv2.resize(texture(0), size[::-1])] * 8, codec="mpeg2video")
    path.write_bytes(path.read_bytes() + smaller.read_bytes())
    shots = probe(path, "video").shots
    sizes = Counter(frame.shape[:2] for frame in read_frames(path))  # the decoder loses a frame between them
    assert [(shot.height, shot.width) for shot in shots] == [(HEIGHT, WIDTH), size]
    assert {(shot.height, shot.width): shot.frames for shot in shots} == sizes


def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path):
    path = write_clip(tmp_path / "a.mp4", pan(0, 15), codec="mpeg4")
    content = bytearray(path.read_bytes())
    media_time = content.index(b"elst") + 16  # behind version, number of edits and duration
    content[media_time : media_time + 4] = (5 * 12800 // 25).to_bytes(4, "big")
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 15
    assert sum(shot.frames for shot in probe(path, "video").shots) == 10


def test_interlaced_clips_are_told(tmp_path):
    path = write_clip(tmp_path / "a.mp4", pan(0, 8), options={"flags": "+ildct"})
    assert probe(path, "video").is_interlaced


def bad_files(folder):
    whole = write_clip(folder / "whole.mp4", pan(0, 30)).read_bytes()
    stream = write_clip(folder / "whole.ts", pan(0, 40), codec="mpeg2video").read_bytes()
    flipped = bytearray(stream)
    for place in range(len(flipped) // 3, len(flipped), 997):
        flipped[place] ^= 255
    picture = folder / "whole.png"
    Image.fromarray(texture(0)).save(picture)
    for name, content in {
        "no_index.mp4": whole[: len(whole) // 2],
        "flipped.ts": bytes(flipped),
        "empty.mp4": b"",
        "text.mp4": b"not a video at all\n" * 20,
        "playlist.mp4": b"ffconcat version 1.0\nfile whole.mp4\n",
        "half.png": picture.read_bytes()[: picture.stat().st_size // 2],
        "video.jpg": whole,
    }.items():
        (folder / name).write_bytes(content)
    write_sound(folder / "sound.mp4")
    write_sound(folder / "cover.mp4", cover=True)
    (folder / "link.mp4").symlink_to(folder / "absent")


@pytest.mark.parametrize(
    ("name", "problem", "detail"),
    [
        ("no_index.mp4", "unreadable", "cannot be read as a video"),
        ("flipped.ts", "corrupt", "decoding errors"),
        ("empty.mp4", "unreadable", "is empty"),
        ("text.mp4", "unreadable", "cannot be read as a video|no video stream"),
        ("playlist.mp4", "unreadable", "list of other files"),
        ("half.png", "unreadable", "truncated"),
        ("video.jpg", "unreadable", "cannot be read as an image"),
        ("sound.mp4", "unreadable", "no video stream"),
        ("cover.mp4", "unreadable", "no video stream"),
        ("link.mp4", "unreadable", "does not exist"),
        ("absent.mp4", "unreadable", "does not exist"),
    ],
)
def test_damage_is_told_not_raised(tmp_path, name, problem, detail):
    bad_files(tmp_path)
    facts = probe(tmp_path / name, "image" if name.endswith(("png", "jpg")) else "video")
    assert (facts.problem, facts.shots) == (problem, ())
    assert re.search(detail, facts.detail)
    assert str(tmp_path / name) in facts.detail


def test_a_fast_start_file_that_ends_early_is_truncated(tmp_path):
    whole, fast = write_clip(tmp_path / "whole.mp4", pan(0, 40)), tmp_path / "fast.mp4"
    with av.open(str(whole)) as source, av.open(str(fast), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert probe(fast, "video").problem == ""
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size * 2 // 3])
    assert probe(fast, "video").problem in ("truncated", "corrupt")


def test_pipes_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(texture(0)).save(folder / "0.png")
    os.mkfifo(folder / "1.png")
    for path, kind in [(tmp_path / "a.mp4", "video"), (folder, "frames")]:
        assert "is not a file" in probe(path, kind).detail


def test_images_are_what_they_hold(tmp_path):
    Image.fromarray(texture(0)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    facts = probe(tmp_path / "a.jpg", "image")
    (shot,) = facts.shots
    assert (facts.codec, facts.pixel_format, shot.frames, shot.width, shot.height) == ("png", "RGB", 1, WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(texture(0)).save(tmp_path / "turned.jpg", exif=exif)
    (shot,) = probe(tmp_path / "turned.jpg", "image").shots
    assert (shot.width, shot.height) == (HEIGHT, WIDTH)


def test_folders_of_frames_are_clips(tmp_path):
    for number, frame in enumerate([*pan(0, 7), *pan(1, 5)]):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    facts = probe(tmp_path, "frames")
    assert [(shot.start, shot.frames) for shot in facts.shots] == [(0, 7), (7, 5)]
    assert facts.size == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_the_content_hash_is_that_of_the_bytes(tmp_path):
    one, same, other = (
        write_clip(tmp_path / name, pan(seed, 6)) for name, seed in [("a.mp4", 0), ("b.mp4", 0), ("c.mp4", 1)]
    )
    same.write_bytes(one.read_bytes())
    contents = [probe(path, "video").content for path in (one, same, other)]
    assert contents[0] == contents[1] != contents[2]


def test_every_frame_beats(tmp_path):
    beats = []
    probe(write_clip(tmp_path / "a.mp4", pan(0, 15)), "video", beat=lambda: beats.append(1))
    assert len(beats) >= 15


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi"])
@pytest.mark.parametrize("share", [0.4, 0.95])
def test_files_that_end_before_their_containers_do_are_truncated(tmp_path, name, share):
    path = write_clip(tmp_path / name, pan(0, 60))
    assert probe(path, "video").problem == ""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert probe(path, "video").problem in ("truncated", "corrupt", "unreadable")
