"""A trainee: networks that learn together, and everything that changes their weights. The only place where weights
change.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from seedvr2.errors import UserError
from seedvr2.optim.ema import Ema
from seedvr2.optim.gradients import clip, global_norm
from seedvr2.optim.schedule import constant

Logs = dict[str, Tensor]


class Diverged(UserError):
    """Too many steps in a row had no finite gradient."""


class Trainee:
    """Networks with one optimizer, one schedule and one set of averaged weights.

    networks: by the name they are exported under. optimizer: parameters -> optimizer. schedule: (step, total) -> factor
    of the learning rate. max_norm: gradient clip, None for none. ema: decay of averaged weights, None for none.
    max_skips: steps in a row without a finite gradient that are forgiven.
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
        max_skips: int = 10,
    ):
        self.networks = dict(networks)
        self.parameters = {
            f"{name}.{key}": parameter
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
            if parameter.requires_grad
        }
        # shards and whole tensors cannot share a fused update
        kinds = [[p for p in self.parameters.values() if isinstance(p, DTensor) is kind] for kind in (True, False)]
        try:
            self.optimizer = optimizer([{"params": kind} for kind in kinds if kind])
        except ValueError as error:  # torch's words for a rate or a beta out of range
            raise UserError(f"the optimizer of {' and '.join(networks)} cannot be made: {error}") from error
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.schedule, self.total, self.max_norm = schedule, total, max_norm
        self.ema = Ema(self.parameters, ema) if ema is not None else None
        self.step = 0
        self.max_skips, self.skipped, self.skipped_in_a_row = max_skips, 0, 0

    def update(self, batches: Sequence, loss: Callable[[object], tuple[Tensor, Logs]]) -> Logs:
        """One optimizer step on the mean loss of all batches; returns the mean logs and the gradient norm.

        A loss or gradient that is not finite on any rank skips the step on all of them; `skipped` in the logs counts
        such steps. Raises Diverged after more than `max_skips` in a row.
        """
        self.optimizer.zero_grad(set_to_none=True)
        logs: Logs = {}
        for i, batch in enumerate(batches):
            self._synchronize(i == len(batches) - 1)
            value, parts = loss(batch)
            # A loss that is not finite makes all gradients so: the norm then tells it on every rank.
            (value * torch.where(value.isfinite(), 1.0, torch.nan) / len(batches)).backward()
            for name, part in parts.items():
                logs[name] = logs.get(name, 0) + part.detach() / len(batches)
        for network in self.networks.values():
            if finish := getattr(network, "finish_gradients", None):
                finish()
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        norm = global_norm(gradients)
        logs["grad_norm"] = norm
        if norm.isfinite():
            self.skipped_in_a_row = 0
            if self.max_norm is not None:
                clip(gradients, norm, self.max_norm)
            self._move()
        else:
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
            self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.skipped:
            logs["skipped"] = torch.tensor(float(self.skipped))
        if self.skipped_in_a_row > self.max_skips:
            raise Diverged(
                f"training diverged: {self.skipped_in_a_row} updates in a row of {' and '.join(self.networks)} had a "
                "loss or gradient that is not finite; lower the learning rate"
            )
        return logs

    def _move(self) -> None:
        factor = self.schedule(self.step, self.total)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        torch.clear_autocast_cache()  # it would lend the casts of the old weights to what follows in the same context
        if self.ema:
            self.ema.update(self.parameters)

    def _synchronize(self, last: bool) -> None:
        # Networks that are attached to exchange gradients only with the last micro-batch say so.
        for network in self.networks.values():
            if getattr(network, "sync_last_only", False):
                network.set_requires_gradient_sync(last)

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
        """Weights and buffers of all networks, optimizer state by parameter name, averages and counts."""
        state = self.optimizer.state
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizer": {name: dict(state[p]) for name, p in self.parameters.items() if p in state},
            "average": dict(self.ema.average) if self.ema else {},
            "kind": type(self.optimizer).__name__,
            "step": self.step,
            "skipped": self.skipped,
        }

    def _at_home(self, key: str, value: object, parameter: Tensor) -> object:
        # Beside its parameter, except for a count of steps that the optimizer reads on the CPU.
        on_device = self.optimizer.defaults.get("fused") or self.optimizer.defaults.get("capturable")
        return value.to(parameter.device) if isinstance(value, Tensor) and (key != "step" or on_device) else value

    def load_state_dict(self, state: dict) -> None:
        """Continue exactly where `state_dict` was taken; settings of the optimizer stay as configured now.

        Raises RuntimeError for the state of another optimizer.
        """
        now = type(self.optimizer).__name__
        if (then := state.get("kind", now)) != now:
            raise RuntimeError(f"the optimizer is {now}, but was {then}")
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        self.optimizer.state.clear()
        for name, values in state["optimizer"].items():
            parameter = self.parameters[name]
            self.optimizer.state[parameter] = {key: self._at_home(key, v, parameter) for key, v in values.items()}
        if self.ema:
            started = state["average"] or self.parameters  # an average switched on later starts from the weights
            for name, value in self.ema.average.items():
                value.copy_(started[name].detach())
        self.step, self.skipped = state["step"], state["skipped"]


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
