"""Timestep lists and shifts against the released ones."""

import pytest
import torch

from seedvr2.flow.timesteps import (
    grid_pairs,
    halvings,
    logit_normal,
    resolution_shift,
    shift_by_resolution,
    shifted,
    trailing,
)


def test_sampling_steps_are_the_released_ones(facts):
    for steps, golden in facts("sampler")["sampling_timesteps"].items():
        ours = trailing(int(steps))
        if steps == "50":  # the released list carries rounding errors of fp32: 799.99994 for 800
            assert ours == pytest.approx(golden["timesteps"], rel=1e-6)
            assert ours == pytest.approx([1000.0 - 20 * k for k in range(50)], rel=1e-15)
        else:
            assert ours == golden["timesteps"]


def test_shifted_steps_equal_the_released_ones(facts):
    for case in facts("sampler")["trailing_with_constructor_shift"]:
        assert trailing(case["steps"], shift=case["shift"]) == pytest.approx(case["timesteps"], rel=1e-6)


def test_resolution_transform_equals_the_released_one(facts):
    golden = facts("sampler")
    table = golden["transformed_timesteps"]
    for number, latent in enumerate(map(tuple, table["latent_shapes_thw"])):
        assert resolution_shift(latent) == pytest.approx(golden["shift_factor_for_latent_shapes"][number], rel=1e-6)
        for steps in (1, 2, 4, 50):
            ours = [shift_by_resolution(when, latent) for when in trailing(steps)]
            assert ours == pytest.approx(table["by_steps"][str(steps)][number], rel=1e-6)


def test_shift_keeps_the_ends_and_works_on_tensors():
    share = torch.linspace(0, 1, 11, dtype=torch.float64)
    moved = shifted(share, 3.0)
    assert moved[[0, -1]].tolist() == [0, 1]
    assert (moved[1:-1] > share[1:-1]).all()
    torch.testing.assert_close(shifted(moved, 1 / 3.0), share)


def test_logit_normal_has_its_median_at_the_sigmoid_of_loc():
    draws = torch.randn(20001, generator=torch.Generator().manual_seed(0))
    when = logit_normal(draws, loc=1.0, scale=0.5)
    assert 0 < when.min() < when.max() < 1000
    assert when.median().item() == pytest.approx(1000 * torch.sigmoid(torch.tensor(1.0)).item(), rel=0.01)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_teacher_spans_tile_the_path_and_start_on_the_student_grid(shift):
    for steps, stride in ((64, 2), (8, 4), (2, 2), (6, 3)):
        spans = grid_pairs(steps, stride, shift=shift)
        assert [span[0] for span in spans] == pytest.approx(trailing(steps // stride, shift=shift))
        assert all(len(span) == stride + 1 and span == sorted(span, reverse=True) for span in spans)
        assert [span[-1] for span in spans] == [span[0] for span in spans[1:]] + [0.0]


@pytest.mark.parametrize(("steps", "stride"), [(5, 2), (4, 0), (4, -2)])
def test_strides_that_do_not_divide_the_steps_are_refused(steps, stride):
    with pytest.raises(ValueError, match=f"stride {stride}"):
        grid_pairs(steps, stride)


def test_halvings_chain_from_start_to_stop():
    assert halvings(64, 1, 2) == [(64, 32), (32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    assert halvings(64, 1, 4) == [(64, 16), (16, 4), (4, 1)]
    assert halvings(12, 3, 2) == [(12, 6), (6, 3)]


@pytest.mark.parametrize(
    ("start", "stop", "stride"), [(63, 1, 2), (4, 4, 2), (1, 4, 2), (4, 0, 2), (8, 1, 1), (8, 3, 2)]
)
def test_chains_that_do_not_end_are_refused(start, stop, stride):
    with pytest.raises(ValueError, match=f"{start} steps"):
        halvings(start, stop, stride)
