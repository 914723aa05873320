import pytest
import torch
from torch import nn

from seedvr2.models.vae.causal import Carry, CausalConv3d, Fresh


def make_conv(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> CausalConv3d:
    torch.manual_seed(0)
    return CausalConv3d(4, 6, kernel=kernel, stride=stride).double()


def clip(frames: int) -> torch.Tensor:
    return torch.randn(2, 4, frames, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2])
def test_start_of_a_clip_repeats_its_first_frame(stride):
    conv = make_conv((3, 3, 3), (stride, 1, 1))
    x = clip(5)
    padded = torch.cat([x[:, :, :1], x[:, :, :1], x], dim=2)
    torch.testing.assert_close(conv(x, Fresh()), nn.Conv3d.forward(conv, padded))


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
def test_single_frame_in_2d_equals_3d(stride):
    conv = make_conv((3, 3, 3), stride)
    x = clip(1)
    whole = nn.Conv3d.forward(conv, x.repeat(1, 1, 3, 1, 1))
    torch.testing.assert_close(conv(x, Fresh()), whole)
    torch.testing.assert_close(conv(x, Carry()), whole)


@pytest.mark.parametrize("chunks", [[9], [1, 8], [5, 4], [3, 2, 2, 2], [1, 2, 2, 4]])
@pytest.mark.parametrize("stride", [1, 2])
def test_carried_chunks_equal_the_whole_clip(stride, chunks):
    conv = make_conv((3, 3, 3), (stride, 1, 1))
    x = clip(9)
    carry = Carry()
    pieces = [conv(piece, carry) for piece in x.split(chunks, dim=2)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), conv(x, Fresh()))


def test_carried_single_frames_equal_the_whole_clip():
    conv = make_conv((3, 3, 3), (1, 1, 1))
    x = clip(5)
    carry = Carry()
    torch.testing.assert_close(torch.cat([conv(x[:, :, [i]], carry) for i in range(5)], dim=2), conv(x, Fresh()))


def test_convolution_of_single_frames_has_no_past():
    conv = make_conv((1, 3, 3), (1, 2, 2))
    carry = Carry()
    conv(clip(3), carry)
    assert carry.is_start(conv)


def test_what_is_carried_follows_the_frames_to_another_device():
    conv, carry = make_conv((3, 3, 3), (1, 1, 1)), Carry()
    conv(clip(2), carry)
    away = conv.to("meta")
    for frames in (1, 3):
        assert away(clip(frames).to("meta"), carry).shape == (2, 6, frames, 6, 5)


def test_a_cleared_carry_begins_a_clip():
    conv, carry, x = make_conv((3, 3, 3), (1, 1, 1)), Carry(), clip(3)
    conv(clip(4) * 2, carry)
    carry.clear()
    torch.testing.assert_close(conv(x, carry), conv(x, Fresh()))


def test_carry_knows_which_layers_have_begun():
    first, second = make_conv((3, 3, 3), (1, 1, 1)), make_conv((3, 3, 3), (1, 1, 1))
    carry = Carry()
    first(clip(1), carry)
    assert not carry.is_start(first)
    assert carry.is_start(second)


@pytest.mark.parametrize(("stride", "frames"), [(1, 2), (2, 1)])
def test_carry_keeps_only_the_frames_that_are_needed(stride, frames):
    conv = make_conv((3, 3, 3), (stride, 1, 1))
    carry = Carry()
    x = clip(9)
    conv(x, carry)
    tail = carry.before(conv, x, 3 - stride)
    torch.testing.assert_close(tail, x[:, :, -frames:])
    assert tail.untyped_storage().nbytes() == tail.numel() * tail.element_size()
