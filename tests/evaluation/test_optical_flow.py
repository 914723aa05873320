"""Flow of a known motion, and the choice between DIS and RAFT."""

import cv2
import numpy as np
import pytest
import torch

from seedvr2.evaluation.contract import Settings, Unavailable
from seedvr2.evaluation.optical_flow import RAFT_FILE, dis, make_flow
from seedvr2.evaluation.warping import WarpError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights of RAFT-large."""
    from torchvision.models.optical_flow import raft_large

    folder = tmp_path_factory.mktemp("weights")
    torch.save(raft_large(weights=None).state_dict(), folder / RAFT_FILE)
    return folder


def picture():
    noise = np.random.default_rng(0).normal(0, 1, (140, 200, 3))
    layers = [cv2.GaussianBlur(noise, None, sigma) * sigma for sigma in (1.5, 5)]
    return np.clip(128 + 45 * sum(layers) / sum(layers).std(), 0, 255).astype(np.uint8)


def test_dis_finds_a_shift():
    wide = picture()
    flow = dis(wide[10:106, 10:150], wide[8:104, 7:147])  # what was at x is now at x + 3, y + 2
    assert flow.shape == (96, 140, 2)
    assert np.median(flow, axis=(0, 1)) == pytest.approx([3, 2], abs=0.1)


def test_raft_is_taken_if_its_file_is_there_and_must_be_if_asked_for(folder, tmp_path):
    assert make_flow(Settings(weights_dir=tmp_path))[0] is dis
    assert make_flow(Settings(weights_dir=folder, flow="dis"))[0] is dis
    with pytest.raises(Unavailable, match=RAFT_FILE):
        make_flow(Settings(weights_dir=tmp_path, flow="raft"))
    facts = WarpError(Settings(weights_dir=folder)).facts
    assert "RAFT" in facts.definition
    assert RAFT_FILE in facts.weights
    assert "DIS" in WarpError(Settings(weights_dir=tmp_path)).facts.definition


def test_raft_gives_a_field_of_the_frames_size_for_any_size(folder):
    flow = make_flow(Settings(weights_dir=folder, flow="raft"))[0]
    frame = picture()[:61, :83]
    field = flow(frame, np.roll(frame, 2, axis=1))
    assert field.shape == (61, 83, 2)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
