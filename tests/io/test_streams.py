import os
import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import pytest

from seedvr2.errors import UserError
from seedvr2.io.clock import FrameClock
from seedvr2.io.matroska import has_codec_delay
from seedvr2.io.streams import lasting_tags, source_origin
from seedvr2.io.subtitles import text_of, written
from seedvr2.io.tracks import header
from tests.io.films import encoding_for, film, moving, source_like

SUBTITLES = "1\n00:00:00,200 --> 00:00:00,800\nHello <i>you</i>\n\n2\n00:00:01,000 --> 00:00:01,500\nTwo\nlines ü\n"
TAGS = """;FFMETADATA1
title=My film
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2000
title=Two
"""
TONES = ["-f", "lavfi", "-i", "sine=440:d=2:r=48000", "-f", "lavfi", "-i", "sine=880:d=2:r=48000"]
PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2"]


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def rich(path, sounds=("aac", "flac"), subtitles="srt", attachment=None):
    """A film of 2 s with two tones, subtitles, chapters, a title, and an attachment where asked."""
    folder = path.parent
    (folder / "a.srt").write_text(SUBTITLES)
    (folder / "a.txt").write_text(TAGS)
    inputs = [*PICTURES, *TONES, "-i", folder / "a.srt", "-i", folder / "a.txt"]
    maps = [part for number in range(4) for part in ("-map", number)]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=Comments"]
    tags += ["-metadata:s:s:0", "language=fra", "-disposition:a:1", "comment", "-map_metadata", 4, "-map_chapters", 4]
    extra = ["-attach", attachment, "-metadata:s:t", "mimetype=font/ttf"] if attachment else []
    codecs = ["-c:v", "libx264", "-c:a:0", sounds[0], "-c:a:1", sounds[1], "-c:s", subtitles, "-strict", "-2"]
    ffmpeg(*inputs, *maps, *codecs, *tags, *extra, path)
    return path


def restored(source, output, *, until=None):
    """Write new pictures at the times of the source's, beside everything else of it; the notes."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        base, rate = stream.time_base, stream.guessed_rate
        stamps = [frame.pts for frame in container.decode(stream)]
    clock = FrameClock(rate, time_base=base, origin=source_origin(source))
    pictures = [moving(index) for index in range(len(stamps))]
    options = {"clock": clock, "stamps": stamps, "cuts": (7,), "until": until}
    return film(output, encoding_for(output), pictures, source=source_like(source), **options)


def packets_of(path, kind, number=0):
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        packets = [packet for packet in container.demux(streams[number]) if packet.size]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def starts(path):
    """When the first decoded picture and sound of a file begin, in seconds."""
    found = []
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            frame = next(container.decode(**{kind: 0}))
            found.append(float(frame.pts * frame.time_base))
    return found


def described(path):
    with av.open(str(path)) as container:
        known = [stream for stream in container.streams if stream.codec_context]
        streams = [(stream.type, stream.codec_context.name, stream.metadata.get("language")) for stream in known]
        chapters = [
            (chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"], chapter["metadata"])
            for chapter in container.chapters()
        ]
        return streams, chapters, container.metadata.get("title")


CHAPTERS = [(0, 1, {"title": "One"}), (1, 2, {"title": "Two"})]


def test_everything_arrives_in_matroska(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"a font" * 99)
    source = rich(tmp_path / "source.mkv", attachment=tmp_path / "font.ttf")
    assert restored(source, tmp_path / "a.mkv") == []
    streams, chapters, title = described(tmp_path / "a.mkv")
    assert streams[1:] == [("audio", "aac", "eng"), ("audio", "flac", "deu"), ("subtitle", "srt", "fra")]
    assert (chapters, title) == (CHAPTERS, "My film")
    for kind, number in (("audio", 0), ("audio", 1), ("subtitle", 0)):
        assert packets_of(tmp_path / "a.mkv", kind, number) == packets_of(source, kind, number)
    with av.open(str(tmp_path / "a.mkv")) as container:
        comments = container.streams.audio[1]
        assert comments.metadata["title"] == "Comments"
        assert comments.disposition & av.stream.Disposition.comment
        (font,) = (stream for stream in container.streams if stream.type == "attachment")
        assert (font.metadata["filename"], font.metadata["mimetype"]) == ("font.ttf", "font/ttf")
        assert font.data == b"a font" * 99


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm"])
def test_what_does_not_fit_changes_its_form_and_is_said(tmp_path, name):
    (tmp_path / "font.ttf").write_bytes(b"a font" * 99)
    source = rich(tmp_path / "source.mkv", attachment=tmp_path / "font.ttf")
    notes = restored(source, tmp_path / name)
    streams, chapters, title = described(tmp_path / name)
    sound = {"a.mp4": ("aac", "flac"), "a.mov": ("aac", "aac"), "a.webm": ("opus", "opus")}[name]
    assert [stream[1] for stream in streams[1:3]] == list(sound)
    german = "ger" if name == "a.mov" else "deu"
    assert [stream[2] for stream in streams[1:4]] == ["eng", german, "fra"]
    assert (chapters, title) == (CHAPTERS, "My film")
    reencoded = {"a.mp4": (), "a.mov": ("flac",), "a.webm": ("aac", "flac")}[name]
    assert [note.split()[0] for note in notes if "re-encoded" in note] == list(reencoded)
    assert sum("keep their text only" in note for note in notes) == 1
    assert any("font.ttf does not fit" in note for note in notes)
    texts = [(time, data) for time, data in packets_of(tmp_path / name, "subtitle") if data != b"\0\0"]
    codec = "webvtt" if name == "a.webm" else "mov_text"
    assert [(time, text_of(data, codec)) for time, data in texts] == [
        (0.2, "Hello <i>you</i>" if name == "a.webm" else "Hello you"),
        (1.0, "Two\nlines ü"),
    ]
    assert ffmpeg("-i", tmp_path / name, "-map", "0:v", "-map", "0:a", "-f", "null", "-") == ""


def test_films_from_mp4_arrive_in_matroska(tmp_path):
    source = rich(tmp_path / "source.mp4", ("aac", "alac"), "mov_text")
    notes = restored(source, tmp_path / "a.mkv")
    assert notes == ["mov_text subtitles do not fit into .mkv, so they keep their text only"]
    streams, chapters, title = described(tmp_path / "a.mkv")
    assert streams[1:] == [("audio", "aac", "eng"), ("audio", "alac", "deu"), ("subtitle", "srt", "fra")]
    assert (chapters, title) == (CHAPTERS, "My film")
    assert [data for _, data in packets_of(tmp_path / "a.mkv", "subtitle")] == [b"Hello you", "Two\nlines ü".encode()]
    sound, kept = (packets_of(path, "audio") for path in (source, tmp_path / "a.mkv"))
    assert [data for _, data in kept] == [data for _, data in sound]
    assert starts(tmp_path / "a.mkv") == starts(source) == [0, 0]  # the priming of AAC lies before 0 in both


@pytest.mark.parametrize(("codec", "delayed"), [("libopus", True), ("flac", False)])
def test_a_codec_delay_is_an_element_and_not_two_bytes_of_something_else(codec, delayed):
    def add(probe):
        probe.add_stream(codec, rate=48000).metadata["title"] = "NAME"

    written = header("matroska", add)
    assert written.count(b"NAME") == 1
    assert has_codec_delay(written) is delayed
    assert has_codec_delay(written.replace(b"NAME", b"\x56\xaaME")) is delayed  # as random numbers of tracks may be
    assert not has_codec_delay(header("mp4", add) + b"\x56\xaa")


@pytest.mark.parametrize(
    ("sounds", "name", "expected", "changed"),
    [
        (("pcm_s16le", "ac3"), "a.mp4", ["pcm_s16le", "ac3"], []),
        (("dca", "libmp3lame"), "a.mov", ["dca", "mp3float"], []),
        (("libopus", "libvorbis"), "a.mov", ["aac", "aac"], [0, 1]),
        (("libopus", "libvorbis"), "a.webm", ["opus", "vorbis"], []),
        (("aac", "truehd"), "a.mp4", ["aac", "aac"], [1]),
        (("dca", "libopus"), "a.webm", ["opus", "opus"], [0]),
    ],
)
def test_sound_is_copied_where_the_container_takes_it(tmp_path, sounds, name, expected, changed):
    source = rich(tmp_path / "source.mkv", sounds)
    notes = restored(source, tmp_path / name)
    streams, _, _ = described(tmp_path / name)
    assert [stream[1] for stream in streams[1:3]] == expected
    assert sum("re-encoded" in note for note in notes) == len(changed)
    for number in range(2):
        old, new = (packets_of(path, "audio", number) for path in (source, tmp_path / name))
        assert ([data for _, data in new] == [data for _, data in old]) == (number not in changed)
        assert abs(new[-1][0] - old[-1][0]) < 0.08


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
@pytest.mark.parametrize(
    ("container", "before_pictures", "before_sound", "shift"),
    [
        ("mp4", [], ["-itsoffset", "0.5"], []),
        ("mkv", ["-itsoffset", "0.7"], [], []),
        ("ts", [], [], ["-output_ts_offset", 7]),
    ],
)
def test_pictures_and_sound_stay_together(tmp_path, name, container, before_pictures, before_sound, shift):
    source = tmp_path / f"source.{container}"
    tone = [*before_sound, "-f", "lavfi", "-i", "sine=d=1"]
    ffmpeg(*before_pictures, *PICTURES, *tone, "-c:v", "libx264", "-c:a", "ac3", *shift, source)
    restored(source, tmp_path / name)
    old, new = starts(source), starts(tmp_path / name)
    assert abs(old[1] - old[0]) > 0.001
    assert abs((new[1] - new[0]) - (old[1] - old[0])) < 0.001
    assert min(new) < 0.001


def test_a_partial_film_ends_its_sound_and_chapters(tmp_path):
    source = rich(tmp_path / "source.mkv")
    restored(source, tmp_path / "a.mkv", until=Fraction(6, 5))
    assert 1.1 < packets_of(tmp_path / "a.mkv", "audio")[-1][0] < 1.2
    assert len(packets_of(tmp_path / "a.mkv", "subtitle")) == 2
    _, chapters, _ = described(tmp_path / "a.mkv")
    assert chapters == [(0, 1, {"title": "One"}), (1, Fraction(6, 5), {"title": "Two"})]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.webm"])
def test_cover_pictures_stay_where_they_fit(tmp_path, name):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:d=1", "-frames:v", 1, tmp_path / "cover.jpg")
    inputs = [*PICTURES, "-i", tmp_path / "cover.jpg", "-map", 0, "-map", 1]
    source = tmp_path / "source.mp4"
    ffmpeg(*inputs, "-c:v:0", "libx264", "-c:v:1", "copy", "-disposition:v:1", "attached_pic", source)
    notes = restored(source, tmp_path / name)
    if name in ("a.mov", "a.webm"):
        assert "cover" in notes[0]
        return
    assert notes == []
    with av.open(str(tmp_path / name)) as container:
        cover = next(s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic)
        (packet,) = (packet for packet in container.demux(cover) if packet.size)
        assert bytes(packet) == (tmp_path / "cover.jpg").read_bytes()


def test_pictures_of_a_sounding_film_say_what_they_lose(tmp_path):
    source = rich(tmp_path / "source.mkv")
    encoding = encoding_for("folder", is_folder=True)
    notes = film(tmp_path / "folder", encoding, [moving(0)], source=source_like(source))
    assert "no sound" in notes[0]
    assert film(tmp_path / "b", encoding, [moving(0)], source=source_like(tmp_path)) == []
    assert sorted(os.listdir(tmp_path / "folder")) == ["00000000.png"]


def test_films_without_other_streams_start_with_their_first_picture(tmp_path):
    ffmpeg("-itsoffset", 3, *PICTURES, "-c:v", "libx264", tmp_path / "source.mkv")
    assert source_origin(tmp_path / "source.mkv") is None
    assert restored(tmp_path / "source.mkv", tmp_path / "a.mp4") == []
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).pts == 0
    assert source_origin(tmp_path) is source_origin(tmp_path / "moving.webp") is None
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(UserError, match="cannot be read"):
        source_origin(tmp_path / "text.mp4")


def test_subtitle_texts_pass_between_forms():
    event = b"0,0,Default,,0,0,0,,{\\i1}One,{\\i0} two\\Nthree\\hfour"
    assert text_of(event, "ass") == "One, two\nthree four"
    assert text_of(b"\0\5Hello\0\0\0\x0cstyl", "mov_text") == "Hello"
    assert text_of(b"", "mov_text") == text_of(b"\0\0", "mov_text") == ""
    assert written("<b>ü</b>\nx", "mov_text") == b"\0\4\xc3\xbc\nx"
    assert written("<b>ü</b>", "subrip") == "<b>ü</b>".encode()


def test_tags_of_the_old_file_do_not_pass_for_those_of_the_new():
    old = {"title": "a", "ENCODER": "x", "DURATION-eng": "1", "BPS": "2", "NUMBER_OF_FRAMES": "3", "language": "eng"}
    assert lasting_tags(old) == {"title": "a", "language": "eng"}
