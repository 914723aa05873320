import pytest
import torch
import torch.nn.functional as F

from seedvr2.models.vae.blocks import Downsample, FrameAttention, FrameNorm, ResBlock, Upsample, clip_of, frames_of
from seedvr2.models.vae.causal import Carry, Fresh


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last_3d) if x.ndim == 5 else x


def test_frames_of_a_clip_come_back_in_order():
    x = noise(2, 3, 4, 5, 6)
    assert torch.equal(frames_of(x)[5], x[1, :, 1])
    assert torch.equal(clip_of(frames_of(x), 2), x)


@pytest.mark.parametrize("shape", [(1, 8, 1, 4, 6), (1, 8, 3, 4, 6), (2, 8, 1, 4, 6)])
def test_frames_of_a_clip_are_a_channels_last_view(shape):
    x = noise(*shape)
    frames = frames_of(x)
    assert frames.data_ptr() == x.data_ptr()
    assert frames.stride() == (4 * 6 * 8, 1, 6 * 8, 8)
    assert clip_of(frames, shape[0]).stride() == x.stride()


def test_norm_uses_the_statistics_of_each_frame_alone():
    norm = FrameNorm(2, 8)
    x = noise(2, 8, 3, 4, 4)
    x[:, :, 1] *= 10
    expected = torch.stack([F.group_norm(x[:, :, i], 2, eps=1e-6) for i in range(3)], dim=2)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("width", [8, 12])
def test_residual_block_without_its_last_convolution_is_its_shortcut(width):
    block = ResBlock(8, width, 4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    x = noise(1, 8, 3, 4, 4)
    torch.testing.assert_close(block(x, Fresh()), block.conv_shortcut(x))


def test_attention_sees_one_frame_at_a_time():
    attention = FrameAttention(8, 4)
    x = noise(2, 8, 3, 4, 6)
    alone = torch.cat([attention(x[:, :, [i]]) for i in range(3)], dim=2)
    torch.testing.assert_close(attention(x), alone)


def test_attention_is_softmax_attention_over_positions():
    attention = FrameAttention(8, 4)
    x = noise(1, 8, 1, 2, 3)
    tokens = attention.group_norm(x)[0].flatten(1).T
    q, k, v = (layer(tokens) for layer in (attention.to_q, attention.to_k, attention.to_v))
    mixed = attention.to_out((q @ k.T / 8**0.5).softmax(dim=-1) @ v)
    torch.testing.assert_close(attention(x)[0].flatten(1).T, x[0].flatten(1).T + mixed)


@pytest.mark.parametrize(("halves_time", "frames"), [(False, 5), (True, 3)])
def test_downsample_pads_right_and_bottom(halves_time, frames):
    down = Downsample(4, halves_time=halves_time)
    x = noise(1, 4, 5, 6, 8)
    y = down(x, Fresh())
    assert y.shape == (1, 4, frames, 3, 4)
    changed = x.clone()
    changed[..., 0, 0] += 1
    assert torch.equal(down(changed, Fresh())[..., 1:, :], y[..., 1:, :])
    assert not torch.equal(down(changed, Fresh())[..., 0, 0], y[..., 0, 0])


def test_upsample_starts_as_nearest_neighbour():
    up = Upsample(4, doubles_time=True)
    torch.nn.init.dirac_(up.conv.weight)
    up.conv.weight.data = up.conv.weight.data.roll(1, dims=2)  # the newest of the three taps
    torch.nn.init.zeros_(up.conv.bias)
    x = noise(2, 4, 3, 2, 3)
    every = F.interpolate(x, scale_factor=2, mode="nearest")
    carry = Carry()
    torch.testing.assert_close(up(x, carry), every[:, :, 1:])
    torch.testing.assert_close(up(x, carry), every)


def test_upsample_orders_sub_positions_row_column_time_channel():
    up = Upsample(2, doubles_time=True)
    x = torch.arange(16.0).view(1, 16, 1, 1, 1)
    y = up._shuffle(x)
    assert y.shape == (1, 2, 2, 2, 2)
    for row, column, time, channel in [(0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 1, 1)]:
        assert y[0, channel, time, row, column] == row * 8 + column * 4 + time * 2 + channel


@pytest.mark.parametrize("shape", [(1, 2, 1, 1, 1), (2, 2, 2, 1, 2)])
def test_upsample_gradients_are_right_at_the_start_of_a_clip(shape):
    torch.manual_seed(0)
    up = Upsample(2, doubles_time=True).double()
    torch.nn.init.normal_(up.upscale_conv.weight)
    x = noise(*shape, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: up(x, Fresh()), (x, *up.parameters()))
