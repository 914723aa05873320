"""The degradation that makes low-quality training clips: an ordered list of random operations (SeedVR2 §4).

The paper follows UAV, UAV follows RealBasicVSR: two rounds of blur, resize, noise and JPEG with a video codec after
each. `configs/degradation/uav.yaml` lists these operations with all numbers.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from seedvr2.data.degradation.draw import Clip, Draw, Operation, apply, to_bytes, to_floats
from seedvr2.errors import UserError


class Degradation:
    """Turn clean clips into low-quality ones of 1/`target_scale` the height and width.

    Everything random comes from the generator given to the call, so equal generators give equal bytes. Every operation
    has a stream of its own: what one draws does not depend on the others, nor on how much noise they needed. Raises
    UserError for ops that are no list and a target_scale below 1.
    """

    def __init__(self, ops: Sequence[Operation], target_scale: int = 4):
        if not isinstance(ops, Sequence) or not all(map(callable, ops)):
            raise UserError(f"ops is {ops!r}; give a list of operations as in configs/degradation")
        if not isinstance(target_scale, int) or target_scale < 1:
            raise UserError(f"target_scale is {target_scale!r}; give a whole number of at least 1")
        self.ops = tuple(ops)
        self.target_scale = int(target_scale)

    def __call__(
        self,
        clip: Clip,
        rng: np.random.Generator,
        *,
        record: list[dict] | None = None,
        watch: Callable[[Sequence[Operation]], Iterable[Operation]] = iter,
    ) -> Clip:
        """The degraded clip: float32 (T,H/s,W/s,3) on the 8-bit grid of [0,1], from float32 (T,H,W,3) in [0,1].

        `record` receives one plain dict of drawn parameters per operation that was applied; `watch` passes the
        operations through, to report progress. A tensor gives a tensor on its device, with the same parameters; only
        codecs, and operations for old films, visit the CPU. Raises UserError if the clip's sides are not multiples of
        the scale or the operations do not end at the target size.
        """
        height, width = clip.shape[1:3]
        if height % self.target_scale or width % self.target_scale:
            raise UserError(f"a clip of {height}x{width} is no multiple of the scale {self.target_scale}; resize it")
        target = (height // self.target_scale, width // self.target_scale)
        record = [] if record is None else record
        frames = len(clip)
        for operation, own in zip(watch(self.ops), rng.spawn(len(self.ops)), strict=True):
            clip = apply(operation, clip, Draw(own, target, record))
        if clip.shape[1:3] != target:
            raise UserError(
                f"the degradation ends at the size {clip.shape[1:3]} instead of {target}; "
                "put a TargetResize after the last operation that changes the size"
            )
        assert len(clip) == frames, f"the degradation turned {frames} frames into {len(clip)}"
        return to_floats(to_bytes(clip))
