"""One Swin-MMDiT block: modulate, attend in windows, MLP — for video and text side by side."""

from torch import Tensor, nn

from seedvr2.models.attention import MMAttention
from seedvr2.models.layers import Modulation, PerModality, RMSNorm
from seedvr2.models.rope import Rotation
from seedvr2.models.windows import WindowPlan


class MMBlock(nn.Module):
    """Pre-norm block with adaptive shift, scale and gate.

    shared: video and text use the same weights. last: the text output is not needed and not computed.
    text_modulated: text enters attention modulated (the last 3B layer only normalises it).
    """

    def __init__(
        self, dim: int, heads: int, head_dim: int, *, mlp, shared: bool, last: bool = False, text_modulated: bool = True
    ):
        super().__init__()
        self.last, self.text_modulated = last, text_modulated
        self.norm = RMSNorm(dim, affine=False)
        self.attn = MMAttention(dim, heads, head_dim, shared=shared)
        self.mlp = PerModality(lambda: mlp(dim), shared=shared)
        self.ada = PerModality(lambda: Modulation(dim), shared=shared)

    def forward(
        self,
        video: Tensor,
        text: Tensor,
        condition: Tensor,
        video_owner: Tensor,
        text_owner: Tensor,
        plan: WindowPlan,
        rotation: Rotation,
    ) -> tuple[Tensor, Tensor]:
        """video: (L, C), text: (M, C), condition: (B, C, 2, 3), owners: (L,) and (M,) clip numbers -> video, text."""
        of_video, of_text = (condition, video_owner), (condition, text_owner)
        text_in = self.norm(text)
        if self.text_modulated:
            text_in = self.ada.text.enter(text_in, *of_text, 0)
        video_in = self.ada.video.enter(self.norm(video), *of_video, 0)
        video_out, text_out = self.attn(video_in, text_in, plan, rotation, text_needed=not self.last)
        video = self._update(video, video_out, self.ada.video, self.mlp.video, of_video)
        if not self.last:
            text = self._update(text, text_out, self.ada.text, self.mlp.text, of_text)
        return video, text

    def _update(
        self, x: Tensor, attended: Tensor, ada: Modulation, mlp: nn.Module, of: tuple[Tensor, Tensor]
    ) -> Tensor:
        x = x + ada.leave(attended, *of, 0)
        return x + ada.leave(mlp(ada.enter(self.norm(x), *of, 1)), *of, 1)
