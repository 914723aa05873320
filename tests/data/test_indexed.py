"""Clips of an index: long enough, near in shape, exact windows, from files and from shards alike."""

import pickle
import platform
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seedvr2.data import index, pack
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.indexed import IndexClips
from seedvr2.data.loader import Failures, batches
from seedvr2.data.pairs import index_pairs
from seedvr2.data.shapes import Buckets, Length, Shape
from seedvr2.errors import UserError
from seedvr2.io.images import write_image
from seedvr2.io.reader import read_frames
from tests.data.clips import pan, texture, write_clip

PLAIN = {"shrink": (1.0, 1.0), "horizontal_flip": 0.0, "reverse": 0.0}
LONG, SHORT, SINGLE = Shape(17, 64, 96), Shape(5, 96, 64), Shape(1, 64, 64)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A film of two shots, a tall clip, a folder of frames and three images, indexed."""
    root = tmp_path_factory.mktemp("films")
    write_clip(root / "film.mp4", pan(1, 30) + pan(2, 24), options={"g": "12"})
    write_clip(root / "tall.mkv", pan(3, 12, height=128, width=96), codec="ffv1", pixels="bgr0")
    (root / "frames").mkdir()
    for number, frame in enumerate(pan(4, 20)):
        write_image(root / "frames" / f"{number}.png", frame)
    for number, side in enumerate((96, 100, 128)):
        write_image(root / f"still{chr(97 + number)}.png", texture(10 + number, side, side))
    (root / "licences.csv").write_text("path,licence\ntall.mkv,CC0\nstilla.png,CC0\n")
    arguments = ["--min-side", "32", "--workers", "1", "--metadata", str(root / "licences.csv")]
    index.main([str(root), "--output", str(root / "index.parquet"), *arguments])
    return root


@pytest.fixture(scope="module")
def packed(films, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    pack.main([str(films / "index.parquet"), "--output", str(folder), "--shard-size", "1M"])
    return folder / "index.parquet"


def source(place: Path, *shapes: Shape, **settings) -> IndexClips:
    made = IndexClips(place, **{**PLAIN, **settings})
    made.serve(shapes)
    return made


def drawn(clips: IndexClips, shape: Shape, count: int = 12) -> list[np.ndarray]:
    return [clips.clip(np.random.default_rng(seed), *shape.size) for seed in range(count)]


def test_clips_are_windows_of_one_shot_at_some_place(films):
    clips = source(films / "index.parquet", LONG)
    contents = [np.stack(list(read_frames(films / "film.mp4")))[part] for part in (slice(30), slice(30, 54))]
    contents.append(np.stack(pan(4, 20)))
    for clip in drawn(clips, LONG):
        found = np.rint(clip * 255).astype(np.uint8)
        assert any(
            np.array_equal(film[start : start + 17, top : top + 64, left : left + 96], found)
            for film in contents
            for start in range(len(film) - 16)
            for top in range(film.shape[1] - 63)
            for left in range(film.shape[2] - 95)
            if np.array_equal(film[start, top, left : left + 96], found[0, 0])
        )


def test_strides_end_within_the_shot(films):
    shots = [np.stack(list(read_frames(films / "film.mp4")))[part] for part in (slice(30), slice(30, 54))]
    shots.append(np.stack(pan(4, 20)))
    shape = Shape(8, *shots[0].shape[1:3])
    taken = set()
    for clip in drawn(source(films / "index.parquet", shape, stride=(1, 9)), shape, 30):
        found = np.rint(clip * 255).astype(np.uint8)
        places = [
            step
            for shot in shots
            for step in range(1, (len(shot) - 1) // 7 + 1)
            for start in range(len(shot) - 7 * step)
            if np.array_equal(shot[start : start + 7 * step + 1 : step], found)
        ]
        assert places
        taken |= set(places)
    assert taken >= {1, 2, 3, 4}  # 4 is the most that 30 frames allow


def test_shards_give_the_very_samples_of_the_files(films, packed):
    for shape in (LONG, SHORT, SINGLE):
        one, two = (drawn(source(place, shape), shape, 6) for place in (films / "index.parquet", packed))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_each_clip_serves_the_size_nearest_to_its_own_shape(films):
    wide, tall = Shape(5, 64, 96), Shape(5, 96, 64)
    clips = source(films / "index.parquet", wide, tall)
    served = {shape: [clips.index[int(n)].path for n in clips._numbers[shape.size]] for shape in (wide, tall)}
    assert set(served[tall]) == {"tall.mkv"}
    assert Counter(served[wide]) == {"film.mp4": 2, "frames": 1}


def test_single_frames_come_from_images_unless_videos_may_serve(films):
    for stills, kinds in (("images", {"image"}), ("any", {"image", "video", "frames"})):
        clips = source(films / "index.parquet", SINGLE, stills=stills)
        assert {clips.index[int(n)].kind for n in clips._numbers[SINGLE.size]} == kinds


def test_licences_choose(films):
    clips = source(films / "index.parquet", SHORT, SINGLE, licences=["CC0"])
    assert {clips.index[int(n)].path for numbers in clips._numbers.values() for n in numbers} == {
        "tall.mkv",
        "stilla.png",
    }


def test_buckets_take_the_shares_of_the_data_and_merge_small_classes(films):
    buckets = Buckets([Length(5)], tokens=400, area=64 * 64, aspects=["4:3", "3:4", "1:1"])
    degradation = Degradation([TargetResize(interpolations={"area": 1.0})])
    settings = {"source": lambda place, root: IndexClips(place, root=root, **PLAIN), "degradation": degradation}
    clips = IndexClips(films / "index.parquet", **PLAIN)
    shares = clips.shares(5, buckets.sizes)
    assert shares == pytest.approx({"4:3": 0.75, "3:4": 0.25})
    assert clips.shares(5, buckets.sizes, least=2) == pytest.approx({"4:3": 1.0})
    pairs = index_pairs(index=str(films / "index.parquet"), shapes=buckets, **settings)
    assert len(pairs.shapes) == 1  # a class of fewer than sixteen clips goes to the largest
    assert pairs.draw((0, 1), pairs.shapes[0]).lq.shape[0] == 5


def test_the_order_does_not_depend_on_workers_or_restarts(films):
    def make():
        degradation = Degradation([TargetResize(interpolations={"area": 1.0})])
        recipe = IndexClips
        return index_pairs(
            index=str(films / "index.parquet"), source=recipe, degradation=degradation, shapes=[LONG, SINGLE]
        )

    def collect(start, workers):
        settings = {"seed": 3, "stage": "s", "start": start, "stop": 4, "positions": range(2), "workers": workers}
        return [pair.hq for _, step in batches(make(), **settings) for pair in step]

    whole = collect(0, 0)
    for other, same in ((collect(0, 2), whole), (collect(2, 0), whole[4:])):
        assert all(np.array_equal(a, b) for a, b in zip(other, same, strict=True))


def test_a_pickled_source_opens_its_index_again(films):
    clips = source(films / "index.parquet", LONG)
    data = pickle.dumps(clips)
    assert len(data) < 4000
    assert np.array_equal(drawn(pickle.loads(data), LONG, 1)[0], drawn(clips, LONG, 1)[0])


def test_a_file_that_vanishes_or_is_cut_off_costs_a_sample_and_is_counted(films, tmp_path):
    root = tmp_path / "copy"
    root.mkdir()
    for path in films.iterdir():
        if path.suffix in (".mp4", ".mkv"):
            (root / path.name).write_bytes(path.read_bytes())
    clips = source(films / "index.parquet", Shape(5, 64, 64), root=root)
    assert len(drawn(clips, Shape(5, 64, 64), 8)) == 8
    first = clips.failures
    assert first > 0  # the folder of frames is not there
    (root / "film.mp4").write_bytes((root / "film.mp4").read_bytes()[:2000])
    drawn(clips, Shape(5, 64, 64), 8)
    assert clips.failures > first
    (root / "tall.mkv").unlink()
    with pytest.raises(UserError, match="in a row cannot be read"):
        clips.clip(np.random.default_rng(0), 5, 64, 64)
    with pytest.raises(UserError, match="more than 0%"):
        Failures(0.0).add(first)


def test_sizes_that_nothing_fills_are_refused(films):
    with pytest.raises(UserError, match="5 x 512 x 512"):
        source(films / "index.parquet", Shape(5, 512, 512))
    with pytest.raises(UserError, match="101 x 64 x 64"):
        source(films / "index.parquet", Shape(101, 64, 64))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="decord has no wheel for this processor")
def test_decord_reads_the_same_windows(films):
    one, two = (source(films / "index.parquet", SHORT, reader=reader) for reader in ("av", "decord"))
    for seed in range(4):
        a, b = (clips.clip(np.random.default_rng(seed), *SHORT.size) for clips in (one, two))
        assert np.array_equal(a, b)


@pytest.mark.parametrize("change", ["lost", "resized"])
def test_a_changed_folder_of_frames_costs_its_samples_only(films, tmp_path, change):
    folder = tmp_path / "moved"
    shutil.copytree(films, folder)
    files = sorted((folder / "frames").iterdir())
    if change == "lost":
        for file in files[1:]:
            file.unlink()
    else:
        for file in files[::3]:
            write_image(file, np.zeros((70, 100, 3), np.uint8))
    wide = Shape(5, 64, 96)
    clips = source(films / "index.parquet", wide, root=folder)
    for clip in drawn(clips, wide, 12):
        assert clip.shape == (5, 64, 96, 3)
    assert clips.failures > 0
