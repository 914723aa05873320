import json
from fractions import Fraction

import numpy as np
import pytest

from seedvr2.errors import UserError
from seedvr2.io.picture import Colors, Picture
from seedvr2.io.planes import frame_of
from tests.io.films import encoding_for, moving, source_like

PQ = Colors(9, 9, 16, 1)
WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize(
    ("name", "wishes", "expected"),
    [
        ("a.mp4", {}, ("h264", 8, "yuv420p")),
        ("a.MKV", {}, ("h264", 8, "yuv420p")),
        ("a.mov", {"depth": 10}, ("hevc", 10, "yuv420p10le")),
        ("a.mp4", {"depth": 12, "chroma": "4:4:4"}, ("hevc", 12, "yuv444p12le")),
        ("a.mkv", {"depth": 16}, ("ffv1", 16, "gbrp16le")),
        ("a.mkv", {"codec": "ffv1"}, ("ffv1", 8, "bgr0")),
        ("a.mov", {"codec": "prores"}, ("prores", 10, "yuv422p10le")),
        ("a.webm", {}, ("vp9", 8, "yuv420p")),
        ("a.webm", {"depth": 10}, ("av1", 10, "yuv420p10le")),
        ("a.png", {"depth": 16}, ("png", 16, "")),
        ("a.jpg", {}, ("jpeg", 8, "")),
        ("folder", {"is_folder": True, "picture": "exr"}, ("exr", 16, "")),
        ("folder.mp4", {"is_folder": True, "picture": "tif"}, ("tiff", 8, "")),
    ],
)
def test_defaults_follow_the_container_and_the_depth(name, wishes, expected):
    chosen = encoding_for(name, **wishes)
    assert (chosen.codec, chosen.depth, chosen.pixel_format) == expected
    assert chosen.is_sequence == (chosen.pixel_format == "")
    assert chosen.notes == ()
    assert json.loads(json.dumps(chosen.describe())) == chosen.describe()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mov", "yuva444p10le"),
        ("a.mkv", "bgra"),
        ("a.webm", "yuva420p"),
    ],
)
def test_transparency_stays_where_a_codec_holds_it(name, expected):
    source = source_like(has_alpha=True)
    chosen = encoding_for(name, source=source)
    assert (chosen.pixel_format, chosen.has_alpha, chosen.notes) == (expected, True, ())
    opaque = encoding_for(name, source=source, alpha=False)
    assert (opaque.pixel_format, opaque.has_alpha, opaque.notes) == ("yuv420p", False, ())
    assert not encoding_for(name, alpha=None).has_alpha


def test_lost_transparency_and_depth_are_said():
    chosen = encoding_for("a.mp4", source=source_like(has_alpha=True, bits=10))
    assert len(chosen.notes) == 2
    assert "10 bits" in chosen.notes[0]
    assert "transparency" in chosen.notes[1]


def test_exact_formats_keep_the_depth_of_the_input():
    deep = source_like(bits=10)
    assert encoding_for("a.mkv", source=deep, codec="ffv1").depth == 10
    assert encoding_for("a", source=deep, is_folder=True).depth == 16
    assert encoding_for("a.mkv", source=source_like(bits=9), codec="ffv1").notes == ()


@pytest.mark.parametrize(
    ("wishes", "pixel_format", "stored"),
    [
        ({}, "yuv444p", (65, 47)),
        ({"chroma": "4:2:0"}, "yuv420p", (66, 48)),
        ({"chroma": "4:2:2"}, "yuv422p", (66, 47)),
        ({"codec": "hevc"}, "yuv444p", (65, 47)),
    ],
)
def test_odd_sizes_are_kept_or_grown_and_said(wishes, pixel_format, stored):
    chosen = encoding_for("a.mp4", width=65, height=47, **wishes)
    assert (chosen.pixel_format, chosen.stored_size(65, 47)) == (pixel_format, stored)
    assert "65x47 is odd" in chosen.notes[0]
    assert encoding_for("a.mp4", **wishes).stored_size(64, 48) == (64, 48)


def test_pictures_that_crash_x265_are_refused():
    with pytest.raises(UserError, match="hevc does not take 46x64 pixels"):
        encoding_for("a.mp4", depth=10, width=46, height=64)


def test_odd_sizes_need_nothing_where_the_codec_holds_them():
    chosen = encoding_for("a.webm", width=63, height=47)
    assert (chosen.pixel_format, chosen.notes, chosen.stored_size(63, 47)) == ("yuv420p", (), (63, 47))
    assert encoding_for("a.mov", width=64, height=47, codec="prores").pixel_format == "yuv422p10le"
    assert encoding_for("a.mov", width=63, height=48, codec="prores").options["profile"] == "4444"


def test_standard_films_are_tagged_bt709_and_keep_their_own_primaries():
    assert encoding_for("a.mp4").colors == Colors(1, 1, 1, 1)
    assert encoding_for("a.mp4", source=source_like(colors=Colors(6, 6, 6, 2))).colors == Colors(1, 6, 6, 1)
    assert encoding_for("a.mp4", source=source_like(colors=Colors(9, 9, 14, 1))).colors == Colors(9, 9, 14, 1)
    assert encoding_for("a.mkv", codec="ffv1").colors == Colors(0, 1, 1, 2)


@pytest.mark.parametrize("curve", [16, 18])
def test_hdr_keeps_its_tags_or_is_refused(curve):
    source = source_like(colors=Colors(9, 9, curve, 1), bits=10)
    for name, wishes in [("a.mp4", {"depth": 10}), ("a.mov", {"codec": "prores"}), ("a.webm", {"depth": 10})]:
        assert encoding_for(name, source=source, **wishes).colors == Colors(9, 9, curve, 1)
    assert encoding_for("a.mkv", source=source, codec="ffv1").colors == Colors(0, 9, curve, 2)
    assert encoding_for("a", source=source, is_folder=True).depth == 16
    for name, wishes in [("a.mp4", {}), ("a.webm", {}), ("a.jpg", {}), ("a.exr", {}), ("a.mp4", {"codec": "hevc"})]:
        with pytest.raises(UserError, match=r"HDR .*--depth 10"):
            encoding_for(name, source=source, **wishes)


@pytest.mark.parametrize(
    ("name", "wishes", "match"),
    [
        ("a.avi", {}, r"\.mp4"),
        ("a", {}, r"\.mkv"),
        ("a.mp4", {"codec": "ffv1"}, r"\.mkv.*h264"),
        ("a.webm", {"codec": "h264"}, "vp9 or av1"),
        ("a.mkv", {"codec": "mpeg2"}, "unknown"),
        ("a.png", {"codec": "h264"}, "leave it out"),
        ("a.mp4", {"codec": "h264", "depth": 10}, "use 8, or the codec hevc or av1"),
        ("a.mp4", {"depth": 16}, "8, 10 or 12"),
        ("a.mov", {"codec": "prores", "crf": 10}, "h264, hevc, vp9 or av1"),
        ("a.mp4", {"crf": 99}, "between 0 and 51, not at 99"),
        ("a.mp4", {"preset": "warp"}, "medium"),
        ("a.mov", {"codec": "prores", "preset": "slow"}, "4444"),
        ("a.webm", {"preset": "slow"}, "no presets"),
        ("a.mkv", {"codec": "ffv1", "chroma": "4:2:0"}, "RGB"),
        ("a.mp4", {"codec": "av1", "chroma": "4:4:4"}, "4:2:0"),
        ("a.mp4", {"alpha": True}, "prores in .mov, ffv1 in .mkv"),
        ("a.png", {"source": source_like(frames=5)}, "one picture, not 5"),
        ("a", {"is_folder": True, "picture": "gif"}, "png, tiff"),
    ],
)
def test_wrong_combinations_are_one_sentence_with_what_works(name, wishes, match):
    with pytest.raises(UserError, match=match):
        encoding_for(name, **wishes)


@pytest.mark.parametrize("matrix", [1, 9])
@pytest.mark.parametrize(("pixel_format", "depth"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p12le", 12)])
@pytest.mark.parametrize("bits", [8, 16])
def test_yuv_is_the_nearest_value_of_its_matrix(matrix, pixel_format, depth, bits):
    picture = moving(3, bits=bits)
    rgb = picture.rgb / np.iinfo(picture.rgb.dtype).max
    red, blue = WEIGHTS[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    exact = [16 + 219 * luma]
    exact += [128 + 224 * (rgb[..., i] - luma) / (2 * (1 - k)) for i, k in ((2, blue), (0, red))]
    frame = frame_of(picture, pixel_format, Colors(matrix, 1, 1, 1))
    for plane, expected in zip(frame.planes, exact, strict=True):
        samples = np.frombuffer(plane, np.uint8 if depth == 8 else "<u2").reshape(48, -1)[:, :64]
        assert np.abs(samples - expected * 2 ** (depth - 8)).max() < 0.51


def test_chroma_sits_on_every_second_column_and_between_two_lines():
    columns = np.tile(np.linspace(0.2, 0.8, 64), (48, 1))
    rgb = np.stack([columns, np.full_like(columns, 0.5), np.full_like(columns, 0.5)], axis=-1)
    picture = Picture((rgb * 65535).astype(np.uint16))
    whole, half, quarter = (
        frame_of(picture, f"yuv{sampling}p12le", Colors(1, 1, 1, 1)).planes[2] for sampling in (444, 422, 420)
    )
    planes = (whole, half, quarter)
    arrays = [np.frombuffer(plane, "<u2").reshape(plane.height, -1)[:, : plane.width] for plane in planes]
    expected = arrays[0][:, 2:-2:2].astype(int)
    assert expected.std() > 100
    assert np.abs(arrays[1][:, 1:-1] - expected).max() <= 1
    assert np.abs(arrays[2][:, 1:-1] - expected[::2]).max() <= 1


def test_crf_and_presets_reach_the_encoder():
    chosen = encoding_for("a.mp4", crf=17.5, preset="slow")
    assert (chosen.options["crf"], chosen.options["preset"]) == ("17.5", "slow")
    assert encoding_for("a.mp4").options["crf"] == "14"
    assert encoding_for("a.mov", codec="prores", preset="lt").options["profile"] == "lt"
    assert Fraction(encoding_for("a.webm").options["crf"]) > 0
