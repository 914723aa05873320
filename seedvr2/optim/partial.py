"""The part of a network that learns, for networks of which most is frozen."""

from torch import nn


def learning_part(network: nn.Module) -> nn.Module:
    """The network itself if all of it learns, else a module with its learning parameters only.

    The part holds the same parameter objects under the same names, so that checkpoints, averages and exports leave the
    frozen rest out, which comes from its file.
    """
    learning = {name: value for name, value in network.named_parameters() if value.requires_grad}
    if len(learning) == len(list(network.parameters())):
        return network
    part = nn.Module()
    for name in ("sync_last_only", "set_requires_gradient_sync"):
        if hasattr(network, name):  # how its gradients are exchanged
            setattr(part, name, getattr(network, name))
    for name, value in learning.items():
        *path, own = name.split(".")
        place = part
        for step in path:
            if step not in place._modules:
                place.add_module(step, nn.Module())
            place = place._modules[step]
        place.register_parameter(own, value)
    return part
