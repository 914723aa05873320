"""Means over frames, and what the report says of packages and files."""

import hashlib
import math

import numpy as np
import pytest

from seedvr2.evaluation.contract import Clip, Facts, FrameMean, fingerprint, versions


def averaged(*values):
    """A metric that answers with these values, one per frame."""
    left = list(values)
    metric = FrameMean(Facts("stub", "higher", "", "stub."), lambda *_: left.pop(0))
    metric.start(Clip("clip", len(values), 2, 2))
    for _ in values:
        metric.add(np.zeros((2, 2, 3), np.uint8))
    return metric.result()


def test_a_clip_has_the_mean_of_its_frames_and_none_if_a_frame_has_none():
    assert averaged(1.0, 2.0, 6.0) == 3
    assert averaged(1.0, math.inf) == math.inf
    assert averaged(1.0, None) is None
    assert averaged() is None


def test_frames_of_another_size_than_the_ground_truth_are_an_error():
    metric = FrameMean(Facts("stub", "higher", "gt", "stub."), lambda *_: 0.0)
    metric.start(Clip("clip", 1, 2, 2))
    for gt in (None, np.zeros((2, 3, 3), np.uint8)):
        with pytest.raises(AssertionError):
            metric.add(np.zeros((2, 2, 3), np.uint8), gt)


def test_versions_name_installed_packages_only():
    assert versions("numpy", "no-such-package") == f"numpy {np.__version__}"


def test_a_fingerprint_tells_files_apart_and_names_that_promise_another_hash(tmp_path):
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    names = {f"net-{digest[:8]}.pth": True, "net-00000000.pth": False, "RN50.pt": True, "net-large.pth": True}
    for name, is_fine in names.items():
        (tmp_path / name).write_bytes(content)
        text = fingerprint(tmp_path / name)
        assert text.startswith(f"{name} sha256:{digest[:16]}")
        assert ("not the released file" not in text) == is_fine
