"""Properties of clips from a folder: exact windows, skipped damage, repeatable draws."""

import itertools
import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from seedvr2.data.folder import FolderClips
from seedvr2.data.source import back_and_forth
from seedvr2.errors import UserError
from seedvr2.io.images import write_image

SIDE = 40
PLAIN = {"shrink": (1.0, 1.0), "horizontal_flip": 0.0, "reverse": 0.0}


def noise(seed, frames=1):
    return np.random.default_rng(seed).integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8)


def write_clip(path, clip):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "bgr0"
        for array in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "still.png", noise(0)[0])
    write_clip(tmp_path / "clip.mkv", noise(1, frames=12))
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(noise(2, frames=11), start=1):
        write_image(tmp_path / "frames" / f"{number}.png", frame)
    return tmp_path


def found_in(clip, video):
    """Whether the clip is, up to rounding, an exact window and crop of the video."""
    clip = np.rint(clip * 255).astype(np.uint8)
    frames, height, width = clip.shape[:3]
    pictures = np.lib.stride_tricks.sliding_window_view(video, (frames, height, width), axis=(0, 1, 2))
    return bool((pictures == clip.transpose(3, 0, 1, 2)).all(axis=(-4, -3, -2, -1)).any())


def test_clips_are_exact_windows_and_crops(folder):
    for name, seed, frames in (("clip.mkv", 1, 12), ("frames", 2, 11), ("still.png", 0, 1)):
        source = FolderClips(folder, allow=[name], **PLAIN)
        for draw in range(4):
            clip = source.clip(np.random.default_rng(draw), 1 if frames == 1 else 5, 30, 36)
            assert found_in(clip, noise(seed, frames))


def test_windows_begin_anywhere(folder):
    video, source = noise(1, 12), FolderClips(folder, allow=["clip.mkv"], **PLAIN)
    begun = set()
    for draw in range(60):
        clip = np.rint(source.clip(np.random.default_rng(draw), 5, 30, 36) * 255)
        begun |= {start for start in range(8) if found_in(clip / 255, video[start : start + 5])}
    assert begun == set(range(8))


def test_a_stride_takes_frames_as_far_apart_as_the_video_allows(folder):
    video = noise(1, 12)
    source = FolderClips(folder, allow=["clip.mkv"], stride=(1, 4), **PLAIN)
    taken = set()
    for draw in range(40):
        clip = source.clip(np.random.default_rng(draw), 5, 30, 36)  # 2 is the most that 12 frames allow
        taken |= {step for step in (1, 2) for start in range(step) if found_in(clip, video[start::step])}
    assert taken == {1, 2}
    assert found_in(source.clip(np.random.default_rng(0), 12, 30, 36), video)
    assert source.clip(np.random.default_rng(0), 20, 30, 36).shape[0] == 20
    assert found_in(source.clip(np.random.default_rng(0), 1, 30, 36), video)


@pytest.mark.parametrize("wrong", [{"stride": (0, 2)}, {"stride": (1, 1.5)}, {"stride": (3, 2)}, {"pan": -0.1}])
def test_useless_motion_is_the_users_mistake(folder, wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} is "):
        FolderClips(folder, **wrong)


def test_equal_generators_give_equal_clips_whatever_came_before(folder):
    first, second = FolderClips(folder), FolderClips(folder)
    for seed in (3, 1, 2):
        second.clip(np.random.default_rng(seed), 1, 8, 8)
    for seed in range(12):
        clips = [source.clip(np.random.default_rng(seed), 5, 16, 16) for source in (first, second)]
        assert np.array_equal(*clips)


def test_stills_become_moving_clips(folder):
    clip = FolderClips(folder, allow=["*.png"], skip=["frames*"], **PLAIN).clip(np.random.default_rng(1), 5, 16, 16)
    assert np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3)).min() > 1e-3


def test_files_that_do_not_fit_leave_their_share_to_all_others(tmp_path):
    for number in range(30):
        write_image(tmp_path / f"a{number:02}.png", noise(number)[0][:8, :8])
    for number in range(10):
        write_image(tmp_path / f"b{number}.png", np.full((16, 16, 3), 20 * number, np.uint8))
    source = FolderClips(tmp_path, frame_folders=False, **PLAIN)
    drawn = [source.clip(np.random.default_rng(seed), 1, 12, 12)[0, 0, 0, 0] for seed in range(400)]
    counts = np.bincount(np.rint(np.array(drawn) * 255 / 20).astype(int), minlength=10)
    assert counts.min() > 15
    assert counts.max() < 75


def test_image_share_sets_the_odds(folder):
    for share, expected in ((0.0, 0), (1.0, 60), (0.5, 30)):
        source = FolderClips(folder, image_share=share, **PLAIN)
        stills = sum(found_in(source.clip(np.random.default_rng(seed), 1, 16, 16), noise(0)) for seed in range(60))
        assert stills == pytest.approx(expected, abs=0 if share in (0, 1) else 14)


def test_single_frames_can_be_kept_to_images(folder):
    source = FolderClips(folder, image_share=0.0, images_for_stills=True, **PLAIN)
    for seed in range(10):
        assert found_in(source.clip(np.random.default_rng(seed), 1, 16, 16), noise(0))
        clip = source.clip(np.random.default_rng(seed), 5, 16, 16)
        assert found_in(clip, noise(1, 12)) or found_in(clip, noise(2, 11))


def test_short_videos_run_back_and_forth(folder):
    clip = FolderClips(folder, allow=["clip.mkv"], **PLAIN).clip(np.random.default_rng(0), 17, SIDE, SIDE)
    assert np.array_equal(np.rint(clip * 255), noise(1, frames=12)[back_and_forth(12, 17)])
    assert back_and_forth(3, 7).tolist() == [0, 1, 2, 1, 0, 1, 2]
    assert back_and_forth(1, 3).tolist() == [0, 0, 0]


def test_flips_happen_as_asked(folder):
    plain = FolderClips(folder, allow=["clip.mkv"], **PLAIN)
    options = PLAIN | {"horizontal_flip": 1.0, "vertical_flip": 1.0, "reverse": 1.0}
    turned = FolderClips(folder, allow=["clip.mkv"], **options)
    clips = [source.clip(np.random.default_rng(4), 5, 16, 16) for source in (plain, turned)]
    assert np.array_equal(clips[0][::-1, ::-1, ::-1], clips[1])


def test_colours_change_places_and_tones_bend_as_asked(folder):
    plain, mixed = (
        FolderClips(folder, allow=["clip.mkv"], **PLAIN, **options)
        for options in ({}, {"channel_shuffle": 1.0, "gamma": (0.5, 2.0)})
    )
    found = []
    for seed in range(40):
        before, after = (source.clip(np.random.default_rng(seed), 2, 16, 16) for source in (plain, mixed))
        inner = (
            (after > 0.1) & (after < 0.9) & (before.max(-1, keepdims=True) < 1) & (before.min(-1, keepdims=True) > 0)
        )
        for order in itertools.permutations(range(3)):
            powers = np.log(after[inner]) / np.log(before[..., order][inner])
            if np.ptp(powers) < 1e-4:
                found.append((order, powers.mean()))
    assert len(found) == 40, "each clip is another one with its colours in one order, to one power"
    assert len({order for order, _ in found}) == 6
    powers = [power for _, power in found]
    assert 0.5 <= min(powers) < 0.7
    assert 1.4 < max(powers) <= 2


def test_broken_files_are_skipped_counted_and_named_once(folder, caplog):
    (folder / "broken.mp4").write_text("nothing")
    (folder / "broken.png").write_text("nothing")
    write_image(folder / "small.png", noise(0)[0][:4, :4])
    source = FolderClips(folder)
    with caplog.at_level(logging.WARNING, logger="seedvr2"):
        for seed in range(60):
            assert source.clip(np.random.default_rng(seed), 3, 16, 16).shape == (3, 16, 16, 3)
    assert source.failures > 5
    assert sorted(record.getMessage().count("broken.mp4") for record in caplog.records).count(1) == 1
    assert len(caplog.records) == 3


def test_a_folder_of_broken_files_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("nothing")
    (tmp_path / "b.png").write_text("nothing")
    with pytest.raises(UserError, match="no file below"):
        FolderClips(tmp_path).clip(np.random.default_rng(0), 1, 8, 8)


def test_useless_settings_are_refused(folder, tmp_path_factory):
    with pytest.raises(UserError, match="no image or video"):
        FolderClips(tmp_path_factory.mktemp("empty"))
    with pytest.raises(UserError, match="shrink"):
        FolderClips(folder, shrink=(0.5, 1.0))
    with pytest.raises(UserError, match="gamma"):
        FolderClips(folder, gamma=(0.0, 1.0))
