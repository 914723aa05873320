"""Rotary positions against the official modules, and what they must not change."""

import pytest
import torch

from seedvr2.models.rope import JointRope, VideoRope, rotate
from seedvr2.models.windows import plan_windows


def whole(size):
    """One window over the whole grid, so that a clip of the plan is a window of the golden data."""
    return size


def plan_of(case: dict[str, torch.Tensor], lengths: list[int]):
    return plan_windows([tuple(size) for size in case["vid_shape"].tolist()], lengths, whole, False)


def case_of(golden, name):
    return {key.split(".")[1]: value for key, value in golden("rope").items() if key.startswith(name)}


@pytest.mark.parametrize("head_dim", [128, 64])
def test_joint_rule_equals_the_official_rotation(golden, head_dim):
    case = case_of(golden, f"mmrope3d_hd{head_dim}")
    rope = JointRope(head_dim)
    rotation = rope(plan_of(case, case["txt_shape"].flatten().tolist()), torch.float32)
    torch.testing.assert_close(rope.frequencies(), case["freqs"], atol=0, rtol=1e-6)
    assert (rotate(case["vid_q"], rotation.video) - case["vid_q_out"]).abs().max() <= 1e-5
    assert (rotate(case["txt_q"], rotation.text) - case["txt_q_out"]).abs().max() <= 1e-5


@pytest.mark.parametrize("head_dim", [128, 64])
def test_pixel_rule_equals_the_official_rotation(golden, head_dim):
    case = case_of(golden, f"rope3d_7b_hd{head_dim}")
    rope = VideoRope(head_dim // 2)
    rotation = rope(plan_of(case, [1] * len(case["vid_shape"])), torch.float32)
    torch.testing.assert_close(rope.frequencies(), case["freqs"], atol=0, rtol=1e-6)
    assert (rotate(case["vid_q"], rotation.video) - case["vid_q_out"]).abs().max() <= 5e-5
    assert rotation.text is None


@pytest.mark.parametrize("rope", [JointRope(16), VideoRope(12)])
def test_rotation_keeps_norms_and_passes_the_channels_behind(rope):
    plan = plan_windows([(2, 3, 4)], [3], whole, False)
    x = torch.randn(24, 2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tables = rope(plan, torch.float64).video
    turned, rotated = rotate(x, tables), 2 * tables.shape[1]
    assert 0 < rotated < 20
    assert torch.equal(turned[..., rotated:], x[..., rotated:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert not torch.allclose(turned[1:, :, :rotated], x[1:, :, :rotated])


def test_joint_scores_depend_on_relative_positions_only():
    q, k = torch.randn(2, 1, 1, 18, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plan = plan_windows([(4, 4, 4)], [5], whole, False)
    turns = JointRope(18)(plan, torch.float64).video

    def score(a, b):
        turned = [rotate(x, turns[[i]]) for x, i in ((q, a), (k, b))]
        return float((turned[0] * turned[1]).sum())

    # index = (t * 4 + h) * 4 + w: the same offset (1, 1, 2) from two places
    assert score(0, 22) == pytest.approx(score(1 + 16, 23 + 16), abs=1e-12)
    assert abs(score(0, 22) - score(0, 23)) > 1e-6


def test_half_precision_queries_are_rotated_in_full_precision():
    plan = plan_windows([(1, 20, 30)], [1], whole, False)
    tables = VideoRope(12)(plan, torch.float32).video
    x = torch.randn(600, 1, 12, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(rotate(x, tables), rotate(x.float(), tables).bfloat16())


@pytest.mark.parametrize("rope", [JointRope(16), VideoRope(12)])
def test_what_is_compiled_is_the_same_rotation(rope, monkeypatch):
    plan = plan_windows([(2, 3, 4)], [3], whole, False)
    x = torch.randn(24, 2, 20, generator=torch.Generator().manual_seed(0))
    tables = rope(plan, torch.float32).video
    eager = rotate(x, tables)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, tables), eager, atol=1e-6, rtol=1e-5)
