import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from seedvr2.errors import UserError
from seedvr2.flow.condition import restoration_condition, restoration_input
from seedvr2.models.codec import LatentCodec
from seedvr2.models.dit import plan_layer
from seedvr2.models.released_vae import vae_from_released
from seedvr2.restore import generation, stream
from seedvr2.restore.generation import Guidance
from seedvr2.restore.resize import pad_to_multiple
from seedvr2.restore.shot import COLOR_FIXES, ShotRestorer
from seedvr2.restore.stream import latent_noise

VAE = Path(__file__).parents[1] / "assets" / "vae_small.safetensors"


@pytest.fixture(scope="module")
def golden_codec() -> LatentCodec:
    with safe_open(VAE, "pt") as file:
        config = json.loads(file.metadata()["config"])
    weights = {key[3:]: value for key, value in load_file(VAE).items() if key.startswith("sd.")}
    return LatentCodec(vae_from_released(config, weights).requires_grad_(False))


@pytest.mark.parametrize("run", ["steps1_cfg1.0", "steps4_cfg1.0", "steps3_cfg6.5"])
@pytest.mark.parametrize("family", ["3b", "7b"])
def test_restoration_equals_the_released_pipeline(family, run, golden, facts, golden_dit, golden_codec, monkeypatch):
    settings = facts("pipeline_tiny")[f"{family}.{run}"]
    values = golden("pipeline_tiny")
    released = {"posterior": values["posterior_noise"][0].movedim(0, -1), "noise": values["x_T"]}

    def noise(seed, purpose, position, shape):
        return released[purpose][position : position + shape[0]]

    for module in (generation, stream):
        monkeypatch.setattr(module, "latent_noise", noise)
    frames = values["video"].unbind(1)
    guidance = Guidance(values["txt_neg"], settings["cfg_scale"], settings["cfg_rescale"])
    sampling = {"steps": settings["steps"], "guidance": None if guidance.scale == 1 else guidance}
    restorer = ShotRestorer(golden_dit(family), golden_codec, prompt=values["txt_pos"], **sampling)
    restored = list(restorer.restore(frames))
    expected = values[f"{family}.{run}.sample_every_2nd_pixel"].clamp(-1, 1)
    assert (torch.stack(restored, dim=1)[..., ::2, ::2] - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 9, 22])
def test_as_many_frames_of_the_same_size_come_out_as_go_in(generator, codec, prompt, clip, count):
    restored = list(ShotRestorer(generator, codec, prompt=prompt, window=3).restore(clip[:count]))
    assert len(restored) == count
    assert all(frame.shape == (3, 20, 28) and frame.dtype == torch.float32 for frame in restored)
    assert all(frame.abs().max() <= 1 for frame in restored)


@torch.no_grad()
def test_one_window_equals_the_networks_on_the_whole_clip(generator, codec, prompt, clip):
    padded = torch.stack([pad_to_multiple(frame, 16) for frame in clip[:9]])
    shape = (3, 4, 4)
    lq = codec.encode(padded, noise=latent_noise(11, "posterior", 0, (*shape, 16)))
    noise = latent_noise(11, "noise", 0, (*shape, 16))
    rows = restoration_input([noise], [restoration_condition(lq)])
    field = generator(rows, prompt, [shape], [len(prompt)], torch.tensor([1000.0]))
    expected = codec.decode(noise - field.unflatten(0, shape))[..., :20, :28].clamp(-1, 1)
    restored = list(ShotRestorer(generator, codec, prompt=prompt, seed=11, window=3).restore(clip[:9]))
    assert torch.allclose(torch.stack(restored), expected, atol=5e-5)


def test_results_do_not_depend_on_the_chunks_of_the_autoencoder(generator, codec, prompt, clip):
    one, three = (
        torch.stack(list(ShotRestorer(generator, codec, prompt=prompt, window=3, chunk=chunk).restore(clip)))
        for chunk in (1, 3)
    )
    assert torch.allclose(one, three, atol=5e-5)


def test_later_frames_do_not_change_finished_windows(generator, codec, prompt, clip):
    restorer = ShotRestorer(generator, codec, prompt=prompt, window=3)
    long, short = (list(restorer.restore(clip[:count])) for count in (22, 9))
    # Latents 0 and 1 (frames 0-4) belong to the first window alone.
    assert torch.allclose(torch.stack(long[:5]), torch.stack(short[:5]), atol=5e-5)


def test_the_seed_decides_the_result(generator, codec, prompt, clip):
    first, again, other = (
        torch.stack(list(ShotRestorer(generator, codec, prompt=prompt, seed=seed).restore(clip[:5])))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


@pytest.mark.parametrize("color_fix", ["none", "wavelet"])
def test_the_number_of_frames_held_does_not_grow(generator, codec, prompt, clip, color_fix):
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            yield clip[pulled % len(clip)]
            pulled += 1

    restored = ShotRestorer(generator, codec, prompt=prompt, window=3, color_fix=color_fix).restore(endless())
    ahead = []
    for count in range(1, 60):
        next(restored)
        ahead.append(pulled - count)
    assert max(ahead[30:]) <= max(ahead[:30]) <= 4 * 3


def test_tables_of_windows_do_not_pile_up_with_the_shots_of_a_film(generator, codec, prompt, clip):
    restorer = ShotRestorer(generator, codec, prompt=prompt, window=6)
    held = []
    for frames in range(1, 22, 4):
        list(restorer.restore(clip[:frames]))
        held.append(plan_layer.cache_info().currsize)
    assert max(held) <= 8


def test_a_color_fix_gives_every_frame_the_colors_of_its_own_input(generator, codec, prompt, clip):
    restorer = ShotRestorer(generator, codec, prompt=prompt, color_fix="adain")
    restored = list(restorer.restore(frame * 0.3 for frame in clip))
    for lq, frame in zip(clip, restored, strict=True):
        assert torch.allclose(frame.mean(dim=(1, 2)), 0.3 * lq.mean(dim=(1, 2)), atol=0.02)


@pytest.mark.parametrize("color_fix", ["grey", "wavelet", "adain"])
def test_grey_films_stay_grey(generator, codec, prompt, clip, color_fix):
    grey = [frame.mean(dim=0, keepdim=True).expand(3, -1, -1) for frame in clip[:5]]
    made, fixed = (
        torch.stack(list(ShotRestorer(generator, codec, prompt=prompt, color_fix=fix).restore(grey)))
        for fix in ("none", color_fix)
    )
    assert (made - made[:, :1]).abs().max() > 0.01
    assert (fixed == fixed[:, :1]).all()


def test_half_precision_changes_little(generator, codec, prompt, clip):
    half = copy.deepcopy(generator).bfloat16(), LatentCodec(copy.deepcopy(codec.vae).bfloat16())
    full, rounded = (
        torch.stack(list(ShotRestorer(*networks, prompt=prompt, window=3, dtype=dtype).restore(clip[:9])))
        for networks, dtype in (((generator, codec), torch.float32), (half, torch.bfloat16))
    )
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - full).norm() / full.norm() < 0.05


def test_less_than_one_step_is_the_users_mistake(generator, codec, prompt):
    with pytest.raises(UserError, match="0 steps"):
        ShotRestorer(generator, codec, prompt=prompt, steps=0)


def test_unknown_color_fixes_are_the_users_mistake(generator, codec, prompt):
    with pytest.raises(UserError, match="'lab'.*" + ", ".join(COLOR_FIXES)):
        ShotRestorer(generator, codec, prompt=prompt, color_fix="lab")


@pytest.mark.parametrize(("window", "overlap", "chunk"), [(3, 1, 1), (4, 2, 1), (5, 0, 2)])
def test_a_restart_in_mid_shot_goes_on_with_the_very_same_frames(generator, codec, prompt, window, overlap, chunk):
    rough = torch.rand((1, 3, 56, 3, 4), generator=torch.Generator().manual_seed(4)) * 2 - 1
    smooth = torch.nn.functional.interpolate(rough, (283, 16, 16), mode="trilinear", align_corners=True)
    clip = list(smooth[0].transpose(0, 1).contiguous())
    restorer = ShotRestorer(generator, codec, prompt=prompt, window=window, overlap=overlap, chunk=chunk)
    whole = list(restorer.restore(clip))
    for frame in (260, 267, 282):
        first = restorer.restart(frame)
        assert 0 < first < frame
        assert first % 4 == 0
        again = list(restorer.restore(clip[first:], first=first))
        assert len(again) == len(clip) - first
        assert all(torch.equal(a, b) for a, b in zip(again[frame - first :], whole[frame:], strict=True))


def test_a_restart_near_the_start_is_the_start(generator, codec, prompt):
    restorer = ShotRestorer(generator, codec, prompt=prompt, window=3)
    assert [restorer.restart(frame) for frame in (0, 1, 20, 60)] == [0] * 4
    assert restorer.restart(1000) > 750


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_networks_that_give_no_numbers_are_told_not_shown(value, generator, codec, prompt, clip):
    class Broken(torch.nn.Module):
        def forward(self, *arguments):
            return generator(*arguments) * value

    broken = ShotRestorer(Broken(), codec, prompt=prompt, window=3)
    with pytest.raises(UserError, match=r"gave no numbers in torch\.float32; use --dtype fp32"):
        list(broken.restore(clip))
