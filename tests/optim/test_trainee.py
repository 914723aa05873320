"""A trainee: accumulation, averaged weights, and continuing exactly."""

import copy
import functools

import pytest
import torch
from torch import nn

from seedvr2.optim.partial import learning_part
from seedvr2.optim.schedule import linear
from seedvr2.optim.trainee import Diverged, Trainee, frozen


def network(seed: int = 0) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def data(count: int, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def trainee(model: nn.Module, **changes) -> Trainee:
    settings = {"optimizer": functools.partial(torch.optim.AdamW, lr=1e-2), "total": 10, "ema": 0.9, "schedule": linear}
    return Trainee({"net": model}, **{**settings, **changes})


def loss_of(model: nn.Module):
    def loss(batch):
        value = model(batch).square().mean()
        return value, {"loss": value}

    return loss


def test_accumulated_micro_batches_equal_one_large_batch():
    parts, models, logs = data(4), [network(), network()], []
    for model, batches in zip(models, (parts, [torch.cat(parts)]), strict=True):
        learner = trainee(model)
        logs += [learner.update(batches, loss_of(model)) for _ in range(3)]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)
    for a, b in zip(logs[:3], logs[3:], strict=True):
        assert a["loss"].item() == pytest.approx(b["loss"].item(), rel=1e-12)
        assert a["grad_norm"].item() == pytest.approx(b["grad_norm"].item(), rel=1e-10)


def test_an_update_counts_at_once_also_in_half_precision():
    model = network().float()
    learner = trainee(model, optimizer=functools.partial(torch.optim.SGD, lr=1.0))
    batch = data(1)[0].float()
    with torch.autocast("cpu", torch.bfloat16):
        learner.update([batch], loss_of(model))
        after = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(after, model(batch))


def test_gradients_are_clipped_to_the_norm_and_reported_before():
    for limit in (0.1, None):
        model = network()
        learner = trainee(model, optimizer=functools.partial(torch.optim.SGD, lr=1.0), max_norm=limit)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        norm = learner.update(data(1), loss_of(model))["grad_norm"].item()
        moved = torch.cat([(a - b).flatten() for a, b in zip(before, model.parameters(), strict=True)]).norm().item()
        assert norm > 1
        assert moved == pytest.approx(limit or norm, rel=1e-3)


def test_schedule_scales_the_rate_of_every_step():
    model = network()
    learner = trainee(model, total=4, ema=None)
    rates = []
    for _ in range(4):
        learner.update(data(1), loss_of(model))
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3])


def test_averaged_weights_are_in_place_only_inside_the_block():
    model = network().float()
    learner = trainee(model)
    for batch in data(3):
        learner.update([batch.float()], loss_of(model))
    own = copy.deepcopy(model.state_dict())
    with learner.averaged():
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, learner.ema.average[f"net.{name}"])
            assert not torch.equal(parameter, own[name])
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_own_weights_return_when_the_block_fails():
    model = network()
    learner = trainee(model)
    learner.update(data(1), loss_of(model))
    own = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="broken"), learner.averaged():
        raise RuntimeError("broken")
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_without_an_average_the_own_weights_stay():
    model = network()
    learner = trainee(model, ema=None)
    learner.update(data(1), loss_of(model))
    own = copy.deepcopy(model.state_dict())
    with learner.averaged():
        assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.RMSprop])
def test_a_restored_trainee_continues_bit_for_bit(tmp_path, optimizer):
    batches, make = data(6), functools.partial(trainee, optimizer=functools.partial(optimizer, lr=1e-2))
    straight, broken, restored = network(), network(), network(seed=9)
    first, before, after = make(straight), make(broken), make(restored)
    for batch in batches:
        first.update([batch], loss_of(straight))
    for batch in batches[:3]:
        before.update([batch], loss_of(broken))
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for batch in batches[3:]:
        after.update([batch], loss_of(restored))
    assert after.step == first.step == 6
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), restored.parameters(), strict=True))
    assert all(torch.equal(first.ema.average[name], after.ema.average[name]) for name in first.ema.average)


def test_settings_of_the_optimizer_come_from_the_configuration_not_from_the_checkpoint():
    old = trainee(network(), optimizer=functools.partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5))
    new = trainee(network(), optimizer=functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1))
    new.load_state_dict(old.state_dict())
    assert [new.optimizer.param_groups[0][key] for key in ("lr", "weight_decay")] == [1e-3, 0.1]


def test_only_trainable_parameters_are_trained():
    model = network()
    model[0].requires_grad_(False)
    learner = trainee(model)
    assert set(learner.parameters) == {"net.2.weight", "net.2.bias"}
    before = model[0].weight.clone()
    learner.update(data(1), loss_of(model))
    assert torch.equal(model[0].weight, before)


def test_frozen_passes_gradients_to_inputs_only_and_restores_the_flags():
    model = network()
    model[0].bias.requires_grad_(False)
    x = data(1)[0].requires_grad_()
    with frozen(model):
        model(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="broken"), frozen(model):
        raise RuntimeError("broken")
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_without_finite_loss_changes_nothing_but_the_count(bad):
    model = network()
    learner = trainee(model)
    first, second = data(2)
    learner.update([first], loss_of(model))
    own, average = copy.deepcopy(model.state_dict()), copy.deepcopy(learner.ema.average)
    logs = learner.update([second], lambda batch: (loss_of(model)(batch)[0] + bad, {}))
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, average[name]) for name, value in learner.ema.average.items())
    assert (learner.step, learner.skipped, logs["skipped"].item()) == (2, 1, 1.0)
    learner.update([second], loss_of(model))
    assert learner.skipped_in_a_row == 0
    assert any(not torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_too_many_bad_steps_in_a_row_are_divergence():
    model = network()
    learner = trainee(model, max_skips=2)
    (batch,) = data(1)
    for _ in range(2):
        learner.update([batch], lambda batch: (loss_of(model)(batch)[0] * float("nan"), {}))
    with pytest.raises(Diverged, match="3 updates in a row"):
        learner.update([batch], lambda batch: (loss_of(model)(batch)[0] * float("nan"), {}))


def test_the_state_of_another_optimizer_is_refused():
    state = trainee(network()).state_dict()
    other = trainee(network(), optimizer=functools.partial(torch.optim.RMSprop, lr=0.1))
    with pytest.raises(RuntimeError, match="the optimizer is RMSprop, but was"):
        other.load_state_dict(state)
    trainee(network()).load_state_dict({key: value for key, value in state.items() if key != "kind"})


def test_the_learning_part_of_a_network_exchanges_gradients_as_the_whole():
    model, told = network(), []
    next(model.parameters()).requires_grad_(False)
    model.sync_last_only, model.set_requires_gradient_sync = True, told.append
    part = learning_part(model)
    assert set(dict(part.named_parameters())) == {name for name, p in model.named_parameters() if p.requires_grad}
    trainee(part).update(data(3), loss_of(model))
    assert told == [False, False, True]
