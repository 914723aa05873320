"""Properties of the test for cut files: whole files pass, cut ones do not, in every container that tells its length."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from seedvr2.io.truncation import is_cut_short

CONTAINERS = [("mp4", {"movflags": "faststart"}), ("mov", {"movflags": "faststart"}), ("mkv", {}), ("avi", {})]


def write(path, options):
    generator = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            picture = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("suffix", "options"), CONTAINERS)
def test_cut_files_are_recognised(tmp_path, suffix, options):
    whole = write(tmp_path / f"whole.{suffix}", options)
    data = whole.read_bytes()
    assert not is_cut_short(whole)
    for share in (0.5, 0.9):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        assert is_cut_short(cut)
    longer = tmp_path / f"longer.{suffix}"
    longer.write_bytes(data + b"\0" * 100)
    assert not is_cut_short(longer)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_cut_animations_are_recognised(tmp_path, suffix):
    pictures = [Image.fromarray(np.full((20, 30, 3), 50 * number, np.uint8)) for number in range(4)]
    whole = tmp_path / f"whole.{suffix}"
    pictures[0].save(whole, save_all=True, append_images=pictures[1:])
    data = whole.read_bytes()
    assert not is_cut_short(whole)
    for kept in (len(data) // 2, len(data) - 13):
        (tmp_path / f"cut.{suffix}").write_bytes(data[:kept])
        assert is_cut_short(tmp_path / f"cut.{suffix}")


def test_fragmented_and_streamed_files_count_as_whole(tmp_path):
    assert not is_cut_short(write(tmp_path / "fragmented.mp4", {"movflags": "frag_keyframe+empty_moov"}))
    assert not is_cut_short(write(tmp_path / "live.mkv", {"live": "1"}))


def test_other_formats_count_as_whole(tmp_path):
    for name, data in [("a.txt", b"hello"), ("b.mkv", b"\x1a\x45\xdf\xa3"), ("c.ts", b"G" * 400), ("d", b"")]:
        (tmp_path / name).write_bytes(data)
        assert not is_cut_short(tmp_path / name)
