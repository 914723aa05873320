"""A trainee: networks that learn together, and everything that changes their weights. The only place where weights
change.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from seedvr2.optim.ema import Ema
from seedvr2.optim.schedule import constant

Logs = dict[str, Tensor]


class Trainee:
    """Networks with one optimizer, one schedule and one set of averaged weights.

    networks: by the name they are exported under. optimizer: parameters -> optimizer. schedule: (step, total) -> factor
    of the learning rate. max_norm: gradient clip, None for none. ema: decay of averaged weights, None for none.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        total: int,
        schedule: Callable[[int, int], float] = constant,
        max_norm: float | None = 1.0,
        ema: float | None = None,
    ):
        self.networks = dict(networks)
        self.parameters = {
            f"{name}.{key}": parameter
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = optimizer(list(self.parameters.values()))
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.schedule, self.total, self.max_norm = schedule, total, max_norm
        self.ema = Ema(self.parameters, ema) if ema is not None else None
        self.step = 0

    def update(self, batches: Sequence, loss: Callable[[object], tuple[Tensor, Logs]]) -> Logs:
        """One optimizer step on the mean loss of all batches; returns the mean logs and the gradient norm."""
        self.optimizer.zero_grad(set_to_none=True)
        logs: Logs = {}
        for batch in batches:
            value, parts = loss(batch)
            (value / len(batches)).backward()
            for name, part in parts.items():
                logs[name] = logs.get(name, 0) + part.detach() / len(batches)
        limit = float("inf") if self.max_norm is None else self.max_norm
        logs["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters.values(), limit, foreach=True)
        factor = self.schedule(self.step, self.total)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        self.step += 1
        if self.ema:
            self.ema.update(self.parameters)
        return logs

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The networks carry their averaged weights inside this block (their own ones if there is no average)."""
        if self.ema is None:
            yield
            return
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._set(self.ema.average)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def state_dict(self) -> dict:
        """Weights and buffers of all networks, optimizer state, averages and step."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.ema.average if self.ema else None,
            "step": self.step,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue exactly where `state_dict` was taken; settings of the optimizer stay as configured now."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)  # the configuration decides, not the checkpoint
        if self.ema:
            started = state["average"] or self.parameters  # an average switched on later starts from the weights
            for name, value in self.ema.average.items():
                value.copy_(started[name].detach())
        self.step = state["step"]


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter of the network receives a gradient inside this block; gradients still pass through to its inputs."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
