"""Sequence parallelism (Ulysses): the tokens of a clip are spread over peers, attention sees all tokens of some heads.

Attached from outside by module type: a network built from these parts is parallel without a change here. The hooks
keep nothing: every length comes from the plan, so recomputation and passes of different shapes cannot interfere. Heads
that peers cannot share equally are filled up with heads of zeros, whose results are dropped.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn

from seedvr2.models.attention import QueryAttention, WindowAttention
from seedvr2.models.layers import Enter, Leave
from seedvr2.parallel.collectives import all_to_all, filled, gather_heads, gather_rows, padded, scatter_rows


def scatter_tokens(enter: Enter, group: dist.ProcessGroup, _heads: int | None) -> None:
    """(plan, tensors whole on every peer) -> this rank's rows of each."""
    enter.register_forward_pre_hook(lambda _, args: (args[0], *(scatter_rows(x, group) for x in args[1:])))


def gather_tokens(leave: Leave, group: dist.ProcessGroup, _heads: int | None) -> None:
    """(plan, this rank's video tokens) -> all of them."""
    leave.register_forward_pre_hook(lambda _, args: (args[0], gather_rows(args[1], args[0].video_tokens, group)))


def exchange_heads(core: WindowAttention, group: dist.ProcessGroup, heads: int) -> None:
    """Three of (L/n, H, D) -> three of (L, H/n, D) -> attention -> (L/n, H, D), for video and text."""
    n = group.size()

    def before(_, args):
        video, text, plan, rotation = args
        video, text = (all_to_all(filled(torch.stack(qkv, dim=1), 2, n), 2, 0, group) for qkv in (video, text))
        return video[: plan.video_tokens].unbind(1), text[: plan.text_tokens].unbind(1), plan, rotation

    def after(_, args, out):
        return tuple(all_to_all(padded(x, n), 0, 1, group)[:, :heads] for x in out)

    core.register_forward_pre_hook(before)
    core.register_forward_hook(after)


def exchange_query_heads(core: QueryAttention, group: dist.ProcessGroup, heads: int) -> None:
    """Keys and values by all-to-all, the query's heads sliced, the outputs gathered."""
    n = group.size()

    def before(_, args):
        query, keys_values, plan = args
        mine = padded(query, n).chunk(n, dim=0)[group.rank()]
        return mine, all_to_all(filled(keys_values, 2, n), 2, 0, group)[: plan.video_tokens], plan

    core.register_forward_pre_hook(before)
    core.register_forward_hook(lambda _, args, out: gather_heads(out, group)[:, :heads])


ATTACH: dict[type[nn.Module], Callable] = {
    Enter: scatter_tokens,
    Leave: gather_tokens,
    WindowAttention: exchange_heads,
    QueryAttention: exchange_query_heads,
}


def split_sequence(network: nn.Module, group: dist.ProcessGroup) -> None:
    """Attach sequence parallelism to every part that needs it."""
    for parent in network.modules():
        for module in parent.children():
            if attach := ATTACH.get(type(module)):
                attach(module, group, getattr(parent, "heads", None))
