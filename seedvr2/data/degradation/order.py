"""Random order of groups of operations, such as the last video codec against the last resize and sinc filter."""

from collections.abc import Sequence

from seedvr2.data.degradation.draw import Clip, Draw, Operation, apply


class RandomOrder:
    """Apply groups of operations one after the other, the groups in random order, each group in its own order.

    Every order is equally likely. The groups themselves are never rearranged, so one object serves many clips.
    """

    def __init__(self, groups: Sequence[Sequence[Operation]]):
        self.groups = tuple(tuple(group) for group in groups)

    takes_tensors = True

    def __call__(self, clip: Clip, draw: Draw) -> Clip:
        order = [int(index) for index in draw.rng.permutation(len(self.groups))]
        draw.record.append({"op": "order", "groups": order})
        for index in order:
            for operation in self.groups[index]:
                clip = apply(operation, clip, draw)
        return clip
