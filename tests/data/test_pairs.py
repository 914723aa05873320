"""Properties of training pairs."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from seedvr2.data.degradation.compression import VideoCodec
from seedvr2.data.degradation.noise import Noise
from seedvr2.data.degradation.pipeline import Degradation
from seedvr2.data.degradation.resize import TargetResize
from seedvr2.data.pairs import Pairs, upsampled
from seedvr2.data.procedural import ProceduralClips
from seedvr2.data.shapes import Shape
from seedvr2.errors import UserError

SHAPES = (Shape(1, 32, 32, share=0.75, batch=4), Shape(5, 16, 24, share=0.25, batch=2))


def make(shapes=SHAPES):
    operations = [Noise({"gaussian": 1}), VideoCodec({"mpeg4": 1}), TargetResize({"area": 1})]
    return Pairs(ProceduralClips(), Degradation(operations), shapes)


def test_pairs_are_tensors_of_one_size_and_range():
    for shape in SHAPES:
        pair = make().draw((0, "base", 3, 1), shape)
        for clip in pair:
            assert clip.shape == (shape.frames, 3, shape.height, shape.width)
            assert clip.dtype == torch.float32
            assert -1 <= clip.min() < clip.max() <= 1
        assert 0.01 < (pair.hq - pair.lq).abs().mean() < 0.7


def test_a_key_names_one_sample_whatever_came_before():
    first, second = make(), make()
    second.draw((9, "other"), SHAPES[1])
    for step in range(3):
        key = (0, "base", step, 0)
        one, two = first.draw(key, SHAPES[0]), second.draw(key, SHAPES[0])
        assert torch.equal(one.hq, two.hq)
        assert torch.equal(one.lq, two.lq)
        assert torch.equal(first.hq(key, SHAPES[0]), one.hq)
    assert not torch.equal(first.hq((0, "base", 0, 0), SHAPES[0]), first.hq((0, "base", 0, 1), SHAPES[0]))


def test_shapes_follow_their_shares_and_the_step_alone():
    pairs = make()
    drawn = [pairs.shape_of(0, "base", step) for step in range(400)]
    assert drawn == [make().shape_of(0, "base", step) for step in range(400)]
    assert Counter(drawn)[SHAPES[0]] / 400 == pytest.approx(0.75, abs=0.08)
    assert drawn != [pairs.shape_of(1, "base", step) for step in range(400)]


def test_a_curriculum_is_a_function_of_the_step_whatever_came_before():
    growing = (
        Shape(1, 32, 32, share=1.0),
        Shape(5, 32, 32, share=3.0, from_step=100, until_step=300),
        Shape(9, 32, 32, share=3.0, from_step=300),
    )
    pairs = make(growing)
    drawn = [pairs.shape_of(0, "apt", step).frames for step in range(600)]
    assert [set(drawn[:100]), set(drawn[100:300]), set(drawn[300:])] == [{1}, {1, 5}, {1, 9}]
    assert drawn[100:300].count(5) / 200 == pytest.approx(0.75, abs=0.1)  # shares of the active ones only
    alone = [make(growing).shape_of(0, "apt", step).frames for step in (599, 0, 300, 299)]
    assert alone == [drawn[step] for step in (599, 0, 300, 299)]


def test_shapes_without_steps_are_drawn_as_if_there_were_no_curriculum():
    bounded = tuple(dataclasses.replace(shape, from_step=0, until_step=50) for shape in SHAPES)
    later = Shape(9, 16, 16, from_step=50)
    for step in range(50):
        frames = make().shape_of(0, "base", step).frames
        assert make((*bounded, later)).shape_of(0, "base", step).frames == frames


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(5, None)], "in step 0"),
        ([(0, 10)], "in step 10"),
        ([(0, 10), (20, None)], "in step 10"),
        ([(0, None), (8, 8)], "until_step=8"),
        ([(-1, None)], "from_step=-1"),
    ],
)
def test_steps_without_a_shape_and_shapes_without_a_step_are_refused(spans, message):
    shapes = [Shape(1, 32, 32, from_step=first, until_step=last) for first, last in spans]
    with pytest.raises(UserError, match=message):
        make(shapes)


def test_the_record_tells_the_degradation():
    record = []
    make().draw(("x",), SHAPES[1], record=record)
    assert [entry["op"] for entry in record] == ["noise", "video_codec", "target_resize"]


def test_upsampling_is_centred_and_clamped():
    ramp = torch.linspace(-0.8, 0.8, 8).view(1, 1, 1, 8).expand(1, 3, 8, 8)
    large = upsampled(ramp, (32, 32))
    assert torch.allclose(large, -large.flip(-1), atol=1e-5)
    assert torch.allclose(large.view(1, 3, 8, 4, 8, 4).mean((3, 5))[..., 2:-2], ramp[..., 2:-2], atol=1e-3)
    edge = torch.ones(1, 3, 8, 8)
    edge[..., :4] = -1
    assert upsampled(edge, (32, 32)).abs().max() <= 1


def test_useless_shapes_are_refused():
    for shapes, message in (([], "empty"), ([Shape(1, 30, 32)], "multiples"), ([Shape(0, 32, 32)], "sample shape")):
        with pytest.raises(UserError, match=message):
            make(shapes)
    with pytest.raises(UserError, match="scale"):
        Pairs(ProceduralClips(), Degradation([TargetResize()], target_scale=2), SHAPES)
    with pytest.raises(AssertionError):
        make().draw((0,))
    assert isinstance(make(SHAPES[:1]).draw((np.int64(0),)).hq, torch.Tensor)


def test_shapes_take_part_between_their_steps_only():
    early = Shape(1, 32, 32, until_step=10)
    late = Shape(5, 32, 32, from_step=5)
    pairs = Pairs(ProceduralClips(), Degradation([TargetResize(interpolations={"area": 1.0})]), [early, late])
    chosen = [pairs.shape_of(0, "apt", step) for step in range(40)]
    assert set(chosen[:5]) == {early}
    assert set(chosen[5:10]) <= {early, late}
    assert set(chosen[10:]) == {late}


def test_steps_that_no_shape_serves_are_refused():
    with pytest.raises(UserError, match="no shape takes part in step 10"):
        Pairs(
            ProceduralClips(),
            Degradation([TargetResize(interpolations={"area": 1.0})]),
            [Shape(1, 32, 32, until_step=10), Shape(5, 32, 32, from_step=12)],
        )
