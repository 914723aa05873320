"""Recordings as they come: joined, with steps back in their times, mirrored by their cameras."""

import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from seedvr2.io.media import open_media
from seedvr2.io.reader import read_frames
from tests.io.test_streams import PICTURES, TONES, ffmpeg, restored


@pytest.mark.parametrize("name", ["joined.ts", "joined.mpg"])
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_joined_recordings_keep_their_length_in_pictures_and_sound(tmp_path, name, output):
    codecs = ["-c:v", "mpeg2video", "-c:a", "mp2", "-shortest"]
    ffmpeg(*PICTURES, *TONES[:4], *codecs, tmp_path / f"one{Path(name).suffix}")
    part = (tmp_path / f"one{Path(name).suffix}").read_bytes()
    (tmp_path / name).write_bytes(part + part)
    restored(tmp_path / name, tmp_path / output)
    with av.open(str(tmp_path / output)) as container:
        ends = {}
        for packet in container.demux():
            if packet.size:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream.type] = max(ends.get(packet.stream.type, 0), end)
    assert ends["video"] == pytest.approx(4, abs=0.2)
    assert ends["audio"] == pytest.approx(4, abs=0.2)


def test_subtitles_may_overlap(tmp_path):
    cues = ("00:00:00,000 --> 00:00:03,000", "00:00:01,000 --> 00:00:02,000")
    (tmp_path / "a.srt").write_text("\n\n".join(f"{number}\n{cue}\nText" for number, cue in enumerate(cues, 1)))
    ffmpeg(*PICTURES, *TONES[:4], "-i", tmp_path / "a.srt", "-c:v", "libx264", "-c:s", "srt", tmp_path / "one.mkv")
    restored(tmp_path / "one.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        starts = [float(packet.pts * packet.time_base) for packet in container.demux(subtitles=0) if packet.size]
    assert starts == [0, 1]


def test_sound_that_steps_back_a_little_still_fits_into_mp4(tmp_path):
    parts = []
    for number, offset in enumerate((0, 1.75)):
        part = tmp_path / f"{number}.ts"
        codecs = ["-c:v", "libx264", "-c:a", "aac", "-output_ts_offset", offset]
        ffmpeg(*PICTURES, *TONES[:4], *codecs, part)
        parts.append(part.read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    restored(tmp_path / "joined.ts", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stamps = [packet.dts for packet in container.demux(audio=0) if packet.size]
    assert len(stamps) > 180, "no packet is lost"
    assert all(a < b for a, b in itertools.pairwise(stamps))


@pytest.mark.parametrize("turn", [[], ["-display_hflip"], ["-display_vflip"], ["-display_rotation", 90]])
def test_all_readers_see_pictures_upright_alike(tmp_path, turn):
    ffmpeg(*PICTURES, "-frames:v", 2, "-c:v", "libx264", "-g", 1, tmp_path / "stored.mp4")
    ffmpeg(*turn, "-i", tmp_path / "stored.mp4", "-c", "copy", tmp_path / "turned.mp4")
    plain, seen = (next(iter(read_frames(tmp_path / name))).astype(int) for name in ("stored.mp4", "turned.mp4"))
    with open_media(tmp_path / "turned.mp4") as media:
        restored = next(iter(media.pictures())).rgb
    assert np.abs(seen - restored).mean() < 12
    turned = {"-display_hflip": plain[:, ::-1], "-display_vflip": plain[::-1], "-display_rotation": np.rot90(plain)}
    assert np.array_equal(seen, turned[turn[0]] if turn else plain)
