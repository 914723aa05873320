"""Window attention against a dense reference with one softmax per window, and the kernels behind it."""

import functools
import math

import pytest
import torch

from seedvr2.models.attention import QueryAttention, WindowAttention
from seedvr2.models.rope import JointRope, VideoRope, rotate
from seedvr2.models.varlen import start_offsets, varlen_attention
from seedvr2.models.windows import adaptive_window, partition, plan_windows

GRIDS, LENGTHS = [(2, 4, 6), (3, 2, 2)], [3, 2]
RULE = functools.partial(adaptive_window, area=16)


def reference(video, text, rotation, *, shifted):
    """Attention of each window written out with dense softmax in a loop."""
    (vq, vk, vv), (tq, tk, tv) = (x.unbind(1) for x in (video, text))
    vq, vk = (rotate(x, rotation.video) for x in (vq, vk))
    if rotation.text is not None:
        tq, tk = (rotate(x, rotation.text) for x in (tq, tk))
    video_out, text_out = torch.zeros_like(vq), torch.zeros_like(tq)
    video_start = text_start = 0
    for size, length in zip(GRIDS, LENGTHS, strict=True):
        numbers = torch.arange(video_start, video_start + math.prod(size)).view(size)
        texts = torch.arange(text_start, text_start + length)
        windows = partition(size, RULE(size), shifted)
        for window in windows:
            rows = numbers[window].flatten()
            q, k, v = (torch.cat([a[rows], b[texts]]) for a, b in ((vq, tq), (vk, tk), (vv, tv)))
            weight = torch.einsum("ihd,jhd->hij", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
            out = torch.einsum("hij,jhd->ihd", weight, v)
            video_out[rows] = out[: len(rows)]
            text_out[texts] += out[len(rows) :] / len(windows)
        video_start, text_start = video_start + math.prod(size), text_start + length
    return video_out, text_out


@pytest.mark.parametrize("rope", [JointRope(16), VideoRope(12)])
@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_equals_dense_attention_in_each_window(rope, shifted):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(math.prod(size) for size in GRIDS)
    video = torch.randn(tokens, 3, 2, 16, generator=generator, dtype=torch.float64)
    text = torch.randn(sum(LENGTHS), 3, 2, 16, generator=generator, dtype=torch.float64)
    plan = plan_windows(GRIDS, LENGTHS, RULE, shifted)
    rotation = rope(plan, torch.float64)
    ours = WindowAttention()(video.unbind(1), text.unbind(1), plan, rotation)
    for mine, dense in zip(ours, reference(video, text, rotation, shifted=shifted), strict=True):
        torch.testing.assert_close(mine, dense, atol=1e-12, rtol=1e-9)


def test_text_is_the_mean_over_the_windows_of_its_clip():
    plan = plan_windows([(1, 2, 4)], [1], lambda size: (1, 2, 2), False)
    video = torch.zeros(8, 3, 1, 6)  # equal scores: a window's result is the mean of its values
    video[:, 2, 0, 0] = torch.tensor([1.0, 1, 5, 5, 1, 1, 5, 5])
    text = torch.zeros(1, 3, 1, 6).unbind(1)
    _, text = WindowAttention()(video.unbind(1), text, plan, VideoRope(6)(plan, torch.float32))
    assert text[0, 0, 0].item() == pytest.approx((4 * 1 / 5 + 4 * 5 / 5) / 2)


def test_query_attends_to_the_tokens_of_its_own_clip_only():
    generator = torch.Generator().manual_seed(0)
    plan = plan_windows([(1, 2, 2), (2, 1, 3)], [1, 1], adaptive_window, False)
    query = torch.randn(2, 8, generator=generator)
    pairs = torch.randn(10, 2, 2, 8, generator=generator)
    out = QueryAttention()(query, pairs, plan)
    weight = torch.einsum("hd,jhd->hj", query, pairs[4:, 0]).div(math.sqrt(8)).softmax(-1)
    torch.testing.assert_close(out[1], torch.einsum("hj,jhd->hd", weight, pairs[4:, 1]))
    changed = pairs.clone()
    changed[4:] += 1
    assert torch.equal(QueryAttention()(query, changed, plan)[0], out[0])


def test_unknown_backend_is_refused_by_name():
    x = torch.zeros(2, 1, 4)
    with pytest.raises(ValueError, match="'flash'"):
        varlen_attention(x, x, x, [(1, 2)], starts=start_offsets([(1, 2)]), backend="flash")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("runs", "heads", "width"),
    [
        ([(3, 5), (2, 17), (1, 64)], 4, 64),
        ([(1, 1)], 2, 64),
        ([(9, 1), (1, 300)], 3, 128),
        ([(4, 358), (7, 718)], 20, 128),  # windows and heads of the 3B size
        ([(2, 1258)], 24, 128),
    ],
)
def test_varlen_and_bucketed_attention_agree(runs, heads, width):
    generator = torch.Generator().manual_seed(0)
    total = sum(count * length for count, length in runs)
    qkv = torch.randn(3, total, heads, width, generator=generator).cuda().bfloat16().requires_grad_()
    results, gradients = [], []
    for backend in ("varlen", "bucketed"):
        out = varlen_attention(*qkv.unbind(0), runs, starts=start_offsets(runs).cuda(), backend=backend)
        results.append(out.float())
        gradients.append(torch.autograd.grad(out.float().square().sum(), qkv)[0].float())
    torch.testing.assert_close(results[0], results[1], atol=2e-2, rtol=2e-2)
    assert (gradients[0] - gradients[1]).norm() <= 2e-2 * gradients[1].norm()
