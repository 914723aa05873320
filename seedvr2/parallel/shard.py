"""Everything that is attached to a network, in one fixed order:

    sequence parallelism -> recompute -> compile -> shards (FSDP2)

Blocks are found by type. Weights are kept in fp32, compute in bf16 where that is wanted, gradients are reduced in fp32;
inputs are not cast, because a timestep must never become bf16.
"""

import functools
import inspect
import warnings

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from seedvr2.models.block import MMBlock
from seedvr2.models.discriminator import CriticHead, TokenHead, Verdict
from seedvr2.parallel.mesh import Mesh
from seedvr2.parallel.sequence import split_sequence

# The last block hands its text on as it came; nothing here changes a block's output in place.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
UNITS = (MMBlock, CriticHead, TokenHead)  # sharded one by one
PRECISE = (Verdict,)  # stay in fp32: penalties live in differences that bf16 would round away
VARIANTS = 64  # of the compiled block, whose code all blocks share: kinds, shapes, with and without gradients
KEPT = {
    "all_to_all_single",  # of both exchanges around attention
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_varlen_attn",
}


def parallelize(network: nn.Module, mesh: Mesh, *, half: bool) -> nn.Module:
    """Attach to a network (on any device, also meta) what the mesh asks for; it stays a network for whole inputs."""
    settings = mesh.settings
    if mesh.sequence is not None:
        split_sequence(network, mesh.sequence)
    for block in _of_type(network, MMBlock):
        if settings.recompute != "none":
            block.forward = _recomputed(block.forward, selective=settings.recompute == "selective")
        if settings.compile:
            block.forward = _compiled(block.forward)
    if mesh.weights is not None:
        _shard(network, mesh, half)
    return network


def _of_type(network: nn.Module, kind: type | tuple[type, ...]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]


def _recomputed(forward, *, selective: bool):
    contexts = functools.partial(create_selective_checkpoint_contexts, _policy) if selective else None
    extra = {"context_fn": contexts} if contexts else {}
    return functools.partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False, **extra)


def _compiled(forward):
    limit = {"recompile_limit": VARIANTS}
    if limit.keys() - inspect.signature(torch.compile).parameters.keys():  # older versions have one limit for all
        torch._dynamo.config.recompile_limit, limit = VARIANTS, {}
    return torch.compile(forward, dynamic=True, **limit)


def _policy(context, op, *args, **kwargs) -> CheckpointPolicy:
    name = op.__name__.split(".")[0] if hasattr(op, "__name__") else str(op)
    return CheckpointPolicy.MUST_SAVE if name in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def _shard(network: nn.Module, mesh: Mesh, half: bool) -> None:
    plain = MixedPrecisionPolicy(cast_forward_inputs=False)
    mixed = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False) if half else plain
    options = {"mesh": mesh.weights, "reshard_after_forward": True}
    for module in _of_type(network, UNITS):
        fully_shard(module, mp_policy=mixed, **options)
    for module in _of_type(network, PRECISE):
        fully_shard(module, mp_policy=plain, **options)
    # The root reshards too: after a forward without backward its parameters would otherwise stay whole, and whoever
    # then froze or cleared parameters would touch the wrong ones.
    network.forward = _without_autocast(network.forward)
    fully_shard(network, mp_policy=mixed, **options)
    network.sync_last_only = mesh.settings.sync == "last"


def _without_autocast(forward):
    # The policy says what is bf16; autocast would decide anew in every layer.
    @functools.wraps(forward)
    def run(vid, *args, **kwargs):
        with torch.autocast(vid.device.type, enabled=False):
            return forward(vid, *args, **kwargs)

    return run
