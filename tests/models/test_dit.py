"""Properties of the trunk and the generator that no golden value shows."""

import functools

import pytest
import torch

from seedvr2.models.dit import SwinMMDiT, plan_layer
from seedvr2.models.layers import GeluMLP, Modulation, RMSNorm, SwiGLU, TimeEmbedding
from seedvr2.models.patch import from_patches, to_patches, token_sizes
from seedvr2.models.rope import JointRope
from seedvr2.models.windows import adaptive_window

SIZES, LENGTHS = [(3, 8, 12), (1, 8, 4)], [4, 3]


@pytest.mark.parametrize(("family", "is_invariant"), [("7b", True), ("3b", False)])
def test_only_the_7b_family_ignores_the_order_of_text(make_generator, make_inputs, family, is_invariant):
    network = make_generator(family).double()
    vid, txt, *rest = make_inputs(SIZES[:1], LENGTHS[:1])
    straight = network(vid.double(), txt.double(), *rest)
    turned = network(vid.double(), txt.flip(0).double(), *rest)
    assert torch.allclose(straight, turned, atol=1e-9) == is_invariant


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_last_text_output_has_no_part_in_the_result(make_generator, make_inputs, family):
    network = make_generator(family)
    network(*make_inputs(SIZES, LENGTHS)).square().mean().backward()
    idle = {name.split(".", 3)[3] for name, p in network.named_parameters() if p.grad is None}
    if family == "3b":  # shared weights: everything works for video
        assert idle == set()
    else:
        assert all(".txt." in f".{name}" for name in idle)
        assert {"attn.proj_out.txt.weight", "mlp.txt.proj_in.weight"} <= idle


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_packed_batch_equals_each_clip_alone(make_generator, make_inputs, family):
    network = make_generator(family)
    vid, txt, sizes, lengths, when = make_inputs(SIZES, LENGTHS)
    packed = network(vid, txt, sizes, lengths, when)
    rows = SIZES[0][0] * SIZES[0][1] * SIZES[0][2]
    first = network(vid[:rows], txt[: LENGTHS[0]], sizes[:1], lengths[:1], when[:1])
    second = network(vid[rows:], txt[LENGTHS[0] :], torch.tensor(sizes[1:]), torch.tensor([lengths[1:]]), when[1:])
    torch.testing.assert_close(packed, torch.cat([first, second]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_timesteps_in_half_precision_are_refused(make_generator, make_inputs, dtype):
    *inputs, when = make_inputs(SIZES, LENGTHS)
    with pytest.raises(TypeError, match=str(dtype)):
        make_generator()(*inputs, when.to(dtype))


def test_timesteps_and_sizes_may_be_of_any_exact_kind(make_generator, make_inputs):
    network = make_generator()
    vid, txt, sizes, lengths, _ = make_inputs(SIZES, LENGTHS)
    expected = network(vid, txt, sizes, lengths, torch.full((2,), 250.0))
    for kind in (torch.int64, torch.float64):
        when = torch.full((2,), 250, dtype=kind)
        assert torch.equal(network(vid, txt, torch.tensor(sizes, dtype=torch.int32), lengths, when), expected)
    assert torch.equal(network(vid, txt, sizes, [(n,) for n in lengths], when), expected)


def test_late_timesteps_are_told_apart_by_a_bf16_network(make_generator, make_inputs):
    network = make_generator().bfloat16()
    *inputs, _ = make_inputs(SIZES[:1], LENGTHS[:1])
    late = [network(*inputs, torch.tensor([when])) for when in (999.0, 1000.0)]
    assert late[0].dtype == torch.bfloat16
    assert not torch.equal(*late)


def test_a_fresh_generator_predicts_zero_velocity(make_trunk, make_inputs):
    network = SwinMMDiT(trunk=make_trunk, output_norm=True)
    assert network(*make_inputs(SIZES, LENGTHS)).abs().max() == 0


def test_odd_latent_sizes_are_refused(make_generator, make_inputs):
    with pytest.raises(ValueError, match=r"\(2, 7, 4\)"):
        make_generator()(*make_inputs([(2, 7, 4)], [2]))


def test_tables_made_in_inference_mode_serve_training(make_generator, make_inputs):
    network, inputs = make_generator(), make_inputs([(2, 6, 10)], [3], seed=5)
    plan_layer.cache_clear()
    with torch.inference_mode():
        network(*inputs)
    network(*inputs).square().mean().backward()
    assert plan_layer.cache_info().hits >= 2


def test_layers_alternate_regular_and_shifted_windows(make_generator, make_inputs):
    shifts = []

    def rope(plan, dtype):
        shifts.append(len(plan.text_rows[0]))
        return JointRope(16)(plan, dtype)

    make_generator(rope=rope)(*make_inputs([(1, 16, 16)], [2]))
    assert shifts == [16, 25]  # windows of 2 x 2 in 8 x 8 tokens: 4 per axis, shifted 5


def test_patches_are_rows_of_height_width_channel():
    pixels = torch.arange(1 * 2 * 4 * 3).float().view(8, 3)
    patches = to_patches(pixels, [(1, 2, 4)])
    assert patches[0].tolist() == [*range(0, 6), *range(12, 18)]
    assert token_sizes([(1, 2, 4)]) == [(1, 1, 2)]
    assert torch.equal(from_patches(patches, [(1, 2, 4)]), pixels)


def test_swiglu_width_is_the_released_one():
    with torch.device("meta"):
        assert SwiGLU(2560, expand=4).proj_in.out_features == 6912
        assert GeluMLP(3072, expand=4).proj_in.out_features == 12288


def test_modulation_scales_shifts_and_gates_with_both_sources():
    layer, x = Modulation(4).requires_grad_(False), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    condition = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(1))
    owner = torch.tensor([0, 1, 1])
    entered = x * (layer.mlp_scale + condition[owner, :, 1, 1]) + layer.mlp_shift + condition[owner, :, 1, 0]
    torch.testing.assert_close(layer.enter(x, condition, owner, 1), entered)
    torch.testing.assert_close(layer.leave(x, condition, owner, 0), x * (layer.attn_gate + condition[owner, :, 0, 2]))
    wide = Modulation(4096)
    assert abs(wide.attn_scale.mean().item() - 1) < 0.01
    assert abs(wide.attn_shift.mean().item()) < 0.01


def test_norm_statistics_are_taken_in_full_precision():
    x = torch.full((1, 4096), 3.0, dtype=torch.bfloat16)
    x[0, 0] = 200
    exact = x.double() / x.double().square().mean().sqrt()
    assert (RMSNorm(4096, affine=False)(x).double() - exact).abs().max() <= 0.004 * exact.abs().max()


def test_time_embedding_waves_have_sine_first_and_base_10000():
    layer = TimeEmbedding(2)
    seen = []
    layer.proj_in.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layer(torch.tensor([250.0]))
    angles = 250.0 * 10000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    torch.testing.assert_close(seen[0][0].double(), torch.cat([angles.sin(), angles.cos()]), atol=5e-5, rtol=0)


def test_window_rule_decides_what_a_token_sees(make_generator, make_inputs):
    rule = functools.partial(adaptive_window, area=16)
    vid, *rest = make_inputs([(1, 16, 16)], [2])
    far = vid.clone()
    far[-1, 0] += 1
    one_layer = {"layers": 1, "separate_layers": 1}
    local = make_generator("7b", window=rule, **one_layer)
    assert torch.equal(local(vid, *rest)[0], local(far, *rest)[0])
    whole = make_generator("7b", window=lambda size: size, **one_layer)
    assert not torch.equal(whole(vid, *rest)[0], whole(far, *rest)[0])
