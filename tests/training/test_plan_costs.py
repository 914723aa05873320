"""The numbers behind a plan, against real networks on the CPU and the sizes of the released models."""

import math

import pytest
import torch

from seedvr2 import config
from seedvr2.models.discriminator import Discriminator
from seedvr2.models.dit import SwinMMDiT
from seedvr2.models.patch import token_sizes
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.windows import plan_windows
from seedvr2.parallel.mesh import Mesh, Parallelism
from seedvr2.parallel.shard import parallelize
from seedvr2.training.plan.costs import Load, attention_cost, head_width, trunk_costs, vae_costs
from seedvr2.training.plan.memory import parameters, state_bytes
from seedvr2.training.plan.trace import trace

SIZES = [(3, 16, 16), (3, 16, 16)]
TEXT = 5


def counted(call, *modules) -> int:
    """Bytes of distinct storages that a forward pass keeps for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for module in modules for p in module.parameters()}
    kept = {}

    def keep(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = call()
    del out
    return sum(size for size, _ in kept.values())


def real_and_planned(make_trunk, family: str, recompute: str) -> tuple[int, int]:
    changes = {"width": 128, "heads": 4, "head_dim": 32, "layers": 6}
    network = SwinMMDiT(trunk=lambda: make_trunk(family, **changes), output_norm=family == "3b")
    with torch.device("meta"):
        meta = SwinMMDiT(trunk=lambda: make_trunk(family, **changes), output_norm=family == "3b")
    parallelize(network, Mesh(Parallelism(recompute=recompute)), half=False)
    rows = sum(math.prod(size) for size in SIZES)
    inputs = torch.randn(rows, 33), torch.randn(2 * TEXT, 8), SIZES, [TEXT, TEXT], torch.tensor([10.0, 900.0])
    network(*inputs)  # tables of rotations are made once and shared
    load = Load(tuple(token_sizes(SIZES)), TEXT, dtype=torch.float32, gpu=False)
    return counted(lambda: network(*inputs), network), trunk_costs(meta, load, "weights").activations(recompute)


@pytest.mark.parametrize("family", ["3b", "7b"])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_activations_are_those_of_a_real_step(make_trunk, family, recompute):
    real, planned = real_and_planned(make_trunk, family, recompute)
    assert planned == pytest.approx(real, rel=0.15)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD])
def test_weights_gradients_and_optimizer_state_are_those_of_a_real_step(make_trunk, optimizer):
    network = SwinMMDiT(trunk=make_trunk)
    made = optimizer(network.parameters(), lr=1e-3)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    state = sum(x.nbytes for values in made.state.values() for x in values.values() if torch.is_tensor(x) and x.ndim)
    assert state_bytes(lambda p: optimizer(p, lr=1e-3)) * parameters(network) == state


@pytest.mark.parametrize("shifted", [False, True])
def test_attention_counts_every_window(make_trunk, shifted):
    trunk = make_trunk()
    grids = ((5, 9, 7), (1, 4, 12))
    flops, rows = attention_cost(trunk, Load(grids, TEXT), shifted)
    plan = plan_windows(grids, [TEXT, TEXT], trunk.window, shifted)
    assert rows == len(plan.order)
    assert flops == 4 * head_width(trunk) * sum(count * length**2 for count, length in plan.runs)


@pytest.mark.parametrize(
    ("name", "count", "forward", "linear"), [("7b", 8239607872, 883, 763), ("3b", 3391475776, 560, 475)]
)
def test_released_sizes_at_101_frames_of_720p(name, count, forward, linear):
    settings = config.plain(config.load("train", [f"model={name}", "run.dir=unused"]))
    with torch.device("meta"):
        network = config.build(settings["model"])()
    assert parameters(network) == count
    costs = trunk_costs(network, Load(((26, 45, 80),), 58), "weights")
    # the rough figure takes every window as whole; half of the layers shift theirs and cut some
    assert costs.forward / 1e12 == pytest.approx(forward, rel=0.05)
    assert (costs.forward - costs.attention) / 1e12 == pytest.approx(linear, rel=0.01)
    assert costs.backward > 2 * costs.forward
    halved = trunk_costs(network, Load(((26, 45, 80),), 58, sequence=2), "weights")
    assert halved.forward == pytest.approx(costs.forward / 2, rel=0.01)
    assert halved.activations("full") == pytest.approx(costs.activations("full") / 2, rel=0.01)
    assert costs.activations("full") / 1e9 == pytest.approx({"7b": 20.7, "3b": 15.3}[name], rel=0.15)
    assert costs.activations("full") < costs.activations("selective") < costs.activations("none")


def test_frozen_networks_keep_less_and_only_the_discriminator_has_taps(make_trunk):
    with torch.device("meta"):
        network, judge = SwinMMDiT(trunk=make_trunk), Discriminator(trunk=make_trunk)
    load = Load(((3, 8, 8),), TEXT)
    learning, passing, idle = (trunk_costs(network, load, grad) for grad in ("weights", "inputs", "none"))
    assert idle.activations("none") <= passing.activations("none") < learning.activations("none")
    assert idle.backward == 0 < passing.backward < learning.backward
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())
    assert learning.features == 0
    assert trunk_costs(judge, load, "none").features == 3 * load.tokens * judge.trunk.width * 2


def test_tracing_counts_products_and_bytes():
    with torch.device("meta"):
        layer, x = torch.nn.Linear(10, 20, bias=False), torch.empty(7, 10)
    found = trace(layer, layer, x)
    assert found.forward_flops == 2 * 7 * 10 * 20
    assert found.backward_flops == 2 * 7 * 10 * 20  # no gradient for the input
    assert found.kept == 7 * 20 * 4
    assert found.peak >= 10 * 20 * 4 + 7 * 20 * 4  # both gradients
    assert layer.weight.grad is None


def test_the_vae_needs_more_for_longer_clips_and_more_with_gradients():
    with torch.device("meta"):
        vae = VideoVAE([8, 16, 16, 16], 1, groups=1)
    image, clip = (vae_costs(vae, frames, 64, 64, 1, grad=False) for frames in (1, 17))
    assert clip.around.peak > 8 * image.around.peak
    assert clip.backward == 0
    assert vae_costs(vae, 17, 64, 64, 1, grad=True).activations("none") > clip.around.peak
