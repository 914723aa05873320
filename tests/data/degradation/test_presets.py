"""The shipped degradations: what they draw follows the published tables, is recorded, and is the same everywhere."""

import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from seedvr2 import config
from seedvr2.data.procedural import ProceduralClips
from seedvr2.randomness import numpy_generator

NAMES = ("codec", "light", "none", "old_film", "test", "uav", "uav_image")
ROUNDS = 300
# What every operation must say about itself; further entries depend on the kind.
RECORDED = {
    "blur": {"kind", "size"},
    "chroma_subsampling": {"kind", "down", "right"},
    "dust": {"mean", "specks"},
    "fading": {"saturation", "black", "white", "warmth"},
    "flicker": {"spread", "gains"},
    "gate_weave": {"amplitude", "rotation", "moves"},
    "grain": {"sigma", "size"},
    "interlace": {"kind", "first_line"},
    "jpeg": {"quality"},
    "noise": {"kind", "gray"},
    "order": {"groups"},
    "resize": {"mode", "factor", "size", "by"},
    "scratches": {"count", "lines"},
    "target_resize": {"size", "by"},
    "video_codec": {"codec", "bits_per_frame", "bits_per_pixel"},
}


def described(name):
    return config.plain(config.load(f"degradation/{name}"))["degradation"]


def built(name):
    return config.build(described(name), "degradation")


def drawn(frames=3, height=32, width=48):
    return ProceduralClips().clip(np.random.default_rng(0), frames, height, width)


def digest(name):
    """A hash of three draws and of their records."""
    degradation, result = built(name), hashlib.sha256()
    for seed in range(3):
        record = []
        result.update(degradation(drawn(), numpy_generator(seed), record=record).tobytes())
        result.update(json.dumps(record).encode())
    return result.hexdigest()


def digests(paths):
    """The digests of all presets, last one first, with other work before; runs in another process."""
    sys.path[:] = paths
    built("uav")(drawn(1), numpy_generator("other"))
    return {name: digest(name) for name in reversed(NAMES)}


def test_these_are_all_presets():
    assert sorted(path.stem for path in (config.folder() / "degradation").glob("*.yaml")) == list(NAMES)


def test_equal_seeds_give_equal_bytes_in_another_process():
    # A fresh interpreter, as a data worker of another rank would be.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(digests, (sys.path,))
    assert there == {name: digest(name) for name in NAMES}
    assert len(set(there.values())) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_drawn_is_recorded_as_plain_numbers(name):
    degradation, seen = built(name), set()
    for seed in range(12):
        record = []
        degradation(drawn(), numpy_generator(seed), record=record)
        for entry in json.loads(json.dumps(record)):
            assert RECORDED[entry["op"]] <= set(entry)
            seen.add(entry["op"])
    operations = json.dumps(described(name)).count("_target_")
    assert len(seen) >= min(operations - 1, 4)


@pytest.fixture(scope="module")
def records():
    """What `uav` drew from many seeds for a clip of two frames."""
    degradation, clip, result = built("uav"), drawn(2, 16, 16), []
    for seed in range(ROUNDS):
        record = []
        degradation(clip, numpy_generator(seed), record=record)
        result.append(record)
    return result


def of(records, operation, turn):
    """The entries of the first (0) or second (1) time that an operation is applied in each draw."""
    found = ([entry for entry in record if entry["op"] == operation] for record in records)
    return [entries[turn] for entries in found if len(entries) > turn]


def in_round(records, operation, turn):
    """The same of blur, which the second round and the end may skip: told apart by the resizing in between."""
    result = []
    for record in records:
        names = [entry["op"] for entry in record]
        resizes = [index for index, name in enumerate(names) if name == "resize"]
        bounds = [(0, resizes[0]), (resizes[0], resizes[1]), (resizes[1], len(record))][turn]
        result.append([entry for entry in record[slice(*bounds)] if entry["op"] == operation])
    return result


def assert_odds(values, odds):
    """Pearson's χ² against the odds stays below the value that one correct sampler in 10,000 exceeds."""
    counts = {name: values.count(name) for name in odds}
    assert sum(counts.values()) == len(values) > 100
    total = sum(odds.values())
    expected = {name: len(values) * share / total for name, share in odds.items()}
    statistic = sum((counts[name] - expected[name]) ** 2 / expected[name] for name in odds)
    free = len(odds) - 1
    limit = free * (1 - 2 / (9 * free) + 3.719 * np.sqrt(2 / (9 * free))) ** 3  # Wilson and Hilferty
    assert statistic < limit, (counts, expected)


def assert_uniform(values, low, high):
    """Kolmogorov's distance to the uniform distribution stays below the value that one in 10,000 exceeds."""
    values = (np.sort(values) - low) / (high - low)
    assert len(values) > 20
    assert values[0] >= 0
    assert values[-1] <= 1
    steps = np.arange(len(values) + 1) / len(values)
    distance = max(np.max(steps[1:] - values), np.max(values - steps[:-1]))
    assert distance * np.sqrt(len(values)) < 2.23


KINDS = {
    "iso": 0.405,
    "aniso": 0.225,
    "generalized_iso": 0.108,
    "generalized_aniso": 0.027,
    "plateau_iso": 0.108,
    "plateau_aniso": 0.027,
    "sinc": 0.1,
}


@pytest.mark.parametrize(("turn", "probability", "sigma"), [(0, 1.0, 3.0), (1, 0.8, 1.5)])
def test_blurs_of_both_rounds_follow_the_table(records, turn, probability, sigma):
    found = in_round(records, "blur", turn)
    if probability == 1:
        assert all(len(entries) == 1 for entries in found)
    else:
        assert_odds([len(entries) for entries in found], {1: probability, 0: 1 - probability})
    entries = [entry for entries in found for entry in entries]
    assert_odds([entry["kind"] for entry in entries], KINDS)
    assert_odds([entry["size"] for entry in entries], dict.fromkeys(range(7, 22, 2), 1))
    assert_uniform([entry["sigma_x"][0] for entry in entries if "sigma_x" in entry], 0.2, sigma)
    assert_uniform([entry["sigma_y"][0] for entry in entries if "sigma_y" in entry], 0.2, sigma)
    assert_uniform([entry["rotation"][0] for entry in entries if "rotation" in entry], -np.pi, np.pi)
    for kind, low, high in (("generalized", 0.5, 4), ("plateau", 1, 2)):
        assert_uniform([entry["beta"][0] for entry in entries if entry["kind"].startswith(kind)], low, high)
    for entry in (entry for entry in entries if entry["kind"] == "sinc"):
        assert np.pi / (3 if entry["size"] < 13 else 5) <= entry["cutoff"][0] <= np.pi


@pytest.mark.parametrize(
    ("turn", "modes", "up", "down"),
    [(0, {"up": 0.2, "down": 0.7, "keep": 0.1}, 1.5, 0.15), (1, {"up": 0.3, "down": 0.4, "keep": 0.3}, 1.2, 0.3)],
)
def test_sizes_of_both_rounds_follow_the_table(records, turn, modes, up, down):
    entries = of(records, "resize", turn)
    assert_odds([entry["mode"] for entry in entries], modes)
    assert_uniform([entry["factor"] for entry in entries if entry["mode"] == "up"], 1, up)
    assert_uniform([entry["factor"] for entry in entries if entry["mode"] == "down"], down, 1)
    assert {entry["factor"] for entry in entries if entry["mode"] == "keep"} == {1}
    assert_odds([entry["by"] for entry in entries], {"bilinear": 1, "area": 1, "bicubic": 1})


@pytest.mark.parametrize(("turn", "sigma", "scale"), [(0, 30, 3), (1, 25, 2.5)])
def test_noise_of_both_rounds_follows_the_table(records, turn, sigma, scale):
    entries = of(records, "noise", turn)
    assert_odds([entry["kind"] for entry in entries], {"gaussian": 0.5, "poisson": 0.5})
    assert_odds([entry["gray"] for entry in entries], {True: 0.4, False: 0.6})
    assert_uniform([entry["sigma"][0] for entry in entries if "sigma" in entry], 1, sigma)
    assert_uniform([entry["scale"][0] for entry in entries if "scale" in entry], 0.05, scale)


@pytest.mark.parametrize("turn", [0, 1])
def test_compression_of_both_rounds_follows_the_table(records, turn):
    jpeg = [entry["quality"][0] for entry in of(records, "jpeg", turn)]
    assert {type(quality) for quality in jpeg} == {int}
    assert_uniform(jpeg, 30, 95)
    video = of(records, "video_codec", turn)
    assert_odds([entry["codec"] for entry in video], {"libx264": 2, "mpeg4": 1})
    assert_uniform(np.log([entry["bits_per_pixel"] for entry in video]), np.log(0.03), np.log(1.5))


def test_the_end_comes_in_both_orders_and_may_ring(records):
    orders = [tuple(entry["groups"]) for entry in of(records, "order", 0)]
    assert_odds(orders, {(0, 1): 1, (1, 0): 1})
    last = in_round(records, "blur", 2)
    assert_odds([len(entries) for entries in last], {1: 0.8, 0: 0.2})
    last = [entry for entries in last for entry in entries]
    assert {entry["kind"] for entry in last} == {"sinc"}
    assert_uniform([entry["cutoff"][0] for entry in last], np.pi / 3, np.pi)
    assert_odds([entry["by"] for entry in of(records, "target_resize", 0)], {"bilinear": 1, "area": 1, "bicubic": 1})


@pytest.mark.parametrize(
    ("operation", "name", "step"),
    [
        ("blur", "sigma_x", 0.02),
        ("blur", "sigma_y", 0.02),
        ("blur", "rotation", 0.31416),
        ("blur", "cutoff", 0.0628),
        ("noise", "sigma", 0.1),
        ("noise", "scale", 0.005),
        ("jpeg", "quality", 3),
    ],
)
def test_parameters_drift_by_the_steps_of_the_table(records, operation, name, step):
    found = [entry for record in records for entry in record if entry["op"] == operation and name in entry]
    steps = np.abs([entry[name][1] - entry[name][0] for entry in found])
    rounding = 1 if name == "quality" else 1e-9
    assert 0.8 * step < steps.max() <= step + rounding


def plain_operations(name):
    """The operations of a preset without drift, and those in random order in one row."""
    text = (Path(config.folder()) / "degradation" / f"{name}.yaml").read_text()
    rows = []
    for entry in yaml.safe_load(text)["ops"]:
        rows += [part for group in entry["groups"] for part in group] if "groups" in entry else [entry]
    return [{key: value for key, value in entry.items() if key != "drift"} for entry in rows]


def test_test_sets_and_images_differ_from_training_only_where_they_must():
    def kinds(operations, *names):
        return [entry for entry in operations if entry["_target_"].split(".")[-1] not in names]

    training = plain_operations("uav")
    assert kinds(training, "Sharpen") == plain_operations("test")
    assert kinds(training, "VideoCodec") == plain_operations("uav_image")
    assert "drift" not in json.dumps(described("test"))
    assert "drift" not in json.dumps(described("uav_image"))
    assert training[0]["probability"] == 0
