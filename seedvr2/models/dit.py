"""Swin-MMDiT (Fig. 2): the trunk shared with the discriminator, and the generator.

One set of modules serves both released families; `configs/model/7b.yaml` and `3b.yaml` list every difference.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from seedvr2.models.block import MMBlock
from seedvr2.models.layers import Enter, GeluMLP, Leave, OutputModulation, RMSNorm, TimeEmbedding
from seedvr2.models.patch import PATCH, from_patches, to_patches, token_sizes
from seedvr2.models.rope import Rotation
from seedvr2.models.windows import Size, WindowPlan, WindowRule, adaptive_window, move_plan, plan_windows

Rope = Callable[[WindowPlan, torch.dtype], Rotation]


class PatchIn(nn.Module):
    """Latent pixels (sum of t*h*w, channels) -> tokens (L, dim)."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.proj = nn.Linear(PATCH * PATCH * channels, dim)

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches)


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class PatchOut(nn.Module):
    """Tokens (L, dim) -> patches (L, 4 channels); starts at zero so that a fresh network predicts zero velocity."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.proj = ZeroLinear(dim, PATCH * PATCH * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.proj(tokens)


class Trunk(nn.Module):
    """Patches through all blocks; layers alternate regular and shifted windows.

    width, heads, head_dim, layers: size. separate_layers: how many first layers keep own weights for text.
    mlp, rope, window: the family's parts. text_modulated_last: False in the 3B family.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        head_dim: int,
        layers: int,
        separate_layers: int,
        rope: Rope,
        mlp: Callable[[int], nn.Module] = GeluMLP,
        window: WindowRule = adaptive_window,
        text_modulated_last: bool = True,
        in_channels: int = 33,
        text_dim: int = 5120,
    ):
        super().__init__()
        self.width, self.heads, self.layers = width, heads, layers
        self.rope, self.window = rope, window
        self.vid_in = PatchIn(in_channels, width)
        self.txt_in = nn.Linear(text_dim, width)
        self.emb_in = TimeEmbedding(width)
        self.enter, self.leave = Enter(), Leave()
        self.blocks = nn.ModuleList(
            MMBlock(
                width,
                heads,
                head_dim,
                mlp=mlp,
                shared=i >= separate_layers,
                last=i == layers - 1,
                text_modulated=text_modulated_last or i < layers - 1,
            )
            for i in range(layers)
        )

    def forward(
        self,
        vid: Tensor,
        txt: Tensor,
        vid_shape: Sequence[Size] | Tensor,
        txt_shape: Sequence[int] | Tensor,
        timestep: Tensor,
        *,
        taps: Sequence[int] = (),
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor, WindowPlan]:
        """vid: (sum of t*h*w, in_channels), txt: (M, text_dim), vid_shape: (B, 3) latent sizes, txt_shape: (B,),
        timestep: (B,).

        Returns tokens (L, C), the tokens after the blocks numbered in `taps` (from 1), the time condition (B, C, 2, 3),
        the clip number of each token (L,) and the plan.
        """
        sizes = [tuple(size) for size in _numbers(vid_shape)]
        lengths = [length[0] if isinstance(length, list | tuple) else length for length in _numbers(txt_shape)]
        grids = token_sizes(sizes)
        if not len(sizes) == len(lengths) == len(timestep):
            raise ValueError(
                f"{len(sizes)} clips, {len(lengths)} texts and {len(timestep)} timesteps: give one of each"
            )
        angle_dtype = torch.float64 if vid.dtype == torch.float64 else torch.float32
        planned = [
            plan_layer(tuple(grids), tuple(lengths), self.window, self.rope, shifted, vid.device, angle_dtype)
            for shifted in (False, True)
        ]
        plan = planned[0][0]
        dtype = self.txt_in.weight.dtype
        video, text, video_owner, text_owner = self.enter(
            plan, to_patches(vid, sizes).to(dtype), txt.to(dtype), plan.clip_of_video, plan.clip_of_text
        )
        video, text, condition = self.vid_in(video), self.txt_in(text), self.emb_in(timestep)
        tapped = []
        for i, block in enumerate(self.blocks):
            video, text = block(video, text, condition, video_owner, text_owner, *planned[i % 2])
            if i + 1 in taps:
                tapped.append(video)
        return video, tapped, condition, video_owner, plan


@functools.lru_cache(maxsize=16)  # training repeats a few shapes; every network of one shape shares the tables
@torch.inference_mode(False)  # a table first built while validating must stay usable in training
def plan_layer(
    grids: tuple[Size, ...],
    lengths: tuple[int, ...],
    window: WindowRule,
    rope: Rope,
    shifted: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[WindowPlan, Rotation]:
    """Window plan and rotation of one kind of layer (regular or shifted), on the device."""
    plan = plan_windows(grids, lengths, window, shifted)
    rotation = rope(plan, dtype)
    return move_plan(plan, device), Rotation(*(None if table is None else table.to(device) for table in rotation))


class SwinMMDiT(nn.Module):
    """The generator: noise (or a noisy latent), LQ latent and mask -> velocity.

    output_norm: final norm and modulation (3B family).
    """

    def __init__(self, *, trunk: Callable[[], Trunk], output_norm: bool = False, out_channels: int = 16):
        super().__init__()
        self.trunk = trunk()
        width = self.trunk.width
        self.vid_out_norm = RMSNorm(width) if output_norm else None
        self.vid_out_ada = OutputModulation(width) if output_norm else None
        self.vid_out = PatchOut(width, out_channels)

    def forward(
        self,
        vid: Tensor,
        txt: Tensor,
        vid_shape: Sequence[Size] | Tensor,
        txt_shape: Sequence[int] | Tensor,
        timestep: Tensor,
    ) -> Tensor:
        """vid: (L', 33) latent pixels of all clips, channels [x_t 16, lq 16, mask 1]; rows of a clip in (t, h, w)
        order.

        txt: (M, text_dim). vid_shape: (B, 3) latent (t, h, w), h and w even. txt_shape: (B,) or (B, 1). timestep: (B,)
        in [0, 1000], not in half precision. Returns the velocity (L', 16) in the type of the weights.
        """
        video, _, condition, owner, plan = self.trunk(vid, txt, vid_shape, txt_shape, timestep)
        if self.vid_out_norm is not None:
            video = self.vid_out_ada(self.vid_out_norm(video), condition, owner)
        patches = self.trunk.leave(plan, self.vid_out(video))
        return from_patches(patches, [tuple(size) for size in _numbers(vid_shape)])


def _numbers(shape: Sequence | Tensor) -> list:
    return shape.tolist() if isinstance(shape, Tensor) else list(shape)
