"""Progressive distillation: the target against Salimans and Ho's, and who sees what."""

import functools

import pytest
import torch

from seedvr2.flow.path import clean_estimate
from seedvr2.objectives.distillation import Distillation
from seedvr2.objectives.restoration import ConditionNoise, PromptOdds, plain_condition, velocities


@pytest.fixture
def make(recorder, fields, prompts):
    def make(**changes):
        settings = {
            "build": recorder,
            "weights": recorder,
            "iterations": 100,
            "steps": 8,
            "stride": 2,
            "guidance": 1.0,
            "generator": fields(),
            "prompts": prompts,
            "optim": functools.partial(torch.optim.AdamW, lr=1e-2),
        }
        return Distillation(**{**settings, **changes})

    return make


def ddim_target(teacher, x, span):
    """Salimans & Ho (2022): the clean estimate that makes one DDIM step land where the teacher's steps land.

    alpha = 1 - t and sigma = t; teacher: (z, t in [0, 1]) -> velocity.
    """
    alpha, sigma = (lambda t: 1 - t), (lambda t: t)
    z = x
    for s, t in zip(span[1:], span, strict=False):
        clean = z - t * teacher(z, t)
        z = alpha(s) * clean + sigma(s) / sigma(t) * (z - alpha(t) * clean)
    ratio = sigma(span[-1]) / sigma(span[0])
    return (z - ratio * x) / (alpha(span[-1]) - ratio * alpha(span[0]))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize(("steps", "stride"), [(8, 2), (8, 4), (2, 2)])
def test_target_equals_the_one_of_salimans_and_ho(make, make_batch, steps, stride, guidance):
    objective, batch = make(steps=steps, stride=stride, guidance=guidance), make_batch(count=1)
    positive, negative = (plain_condition(batch, objective.prompts(kind)) for kind in ("positive", "negative"))

    def teacher(z, t):
        when = torch.tensor([1000.0 * t])
        v = velocities(objective.teacher, [z], positive, when)[0]
        against = velocities(objective.teacher, [z], negative, when)[0]
        return against + guidance * (v - against)

    for span in objective.spans:  # the last one ends at 0
        start = batch.normal("noise")
        target = objective.target(start, positive, [span])[0]
        with torch.no_grad():
            expected = ddim_target(teacher, start[0], [t / 1000 for t in span])
        torch.testing.assert_close(clean_estimate(start[0], target, span[0]), expected, atol=2e-5, rtol=1e-4)
    assert objective.spans[-1][-1] == 0


def test_clips_of_one_batch_have_spans_of_their_own(make, make_batch):
    objective, batch = make(steps=64), make_batch(count=3)
    objective.loss(batch)
    student = objective.generator.calls[0][4]
    assert len(set(student.tolist())) == 3
    assert set(student.tolist()) <= set(objective.student_grid)
    teacher = [call[4] for call in objective.teacher.calls]
    assert torch.equal(teacher[0], student)
    torch.testing.assert_close(student - teacher[1], torch.full((3,), 1000 / 64))


def test_a_student_equal_to_a_constant_teacher_has_no_loss(make, make_batch, fields):
    def still():
        network = fields()()
        with torch.no_grad():
            network.time.zero_()
            network.mix.weight[:, :16] = 0  # the field depends on LQ and text only: straight, constant paths
        return network

    loss, _ = make(generator=still, steps=8, stride=4).loss(make_batch())
    assert loss.item() < 1e-10
    loss, _ = make(steps=8, stride=4).loss(make_batch())
    assert loss.item() > 1e-4


def test_guidance_enters_through_the_teacher_only(make, make_batch):
    odds = PromptOdds(0.0, 0.0)
    for guidance, calls in ((1.0, 2), (7.5, 4)):
        objective = make(guidance=guidance, prompt_odds=odds)
        objective.loss(make_batch())
        positive, negative = objective.prompts("positive").repeat(2, 1), objective.prompts("negative").repeat(2, 1)
        assert [torch.equal(call[1], positive) for call in objective.generator.calls] == [True]
        texts = [call[1] for call in objective.teacher.calls]
        assert len(texts) == calls
        assert sum(torch.equal(text, negative) for text in texts) == calls - 2


def test_only_the_student_gets_gradients_and_is_trained(make, make_batch):
    objective = make(guidance=2.0)
    loss, _ = objective.loss(make_batch())
    loss.backward()
    assert all(p.grad is not None for p in objective.generator.parameters())
    assert all(p.grad is None for p in (*objective.teacher.parameters(), *objective.prompts.parameters()))
    before = [p.clone() for p in objective.teacher.parameters()]
    objective.step([make_batch()])
    assert all(torch.equal(a, b) for a, b in zip(before, objective.teacher.parameters(), strict=True))
    assert all(name.startswith("generator.") for name in objective.student.parameters)


def test_loss_falls_on_a_fixed_batch(make, make_batch, fields):
    recipes = iter((fields(1), fields(2)))
    objective = make(teacher=next(recipes), generator=next(recipes), condition_noise=ConditionNoise(limit=0.0))
    losses = [objective.step([make_batch()])["loss"].item() for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]


def test_last_stage_learns_from_noise_alone(make, make_batch):
    objective, batch = make(steps=2, stride=2, condition_noise=ConditionNoise(limit=0.0)), make_batch()
    loss, _ = objective.loss(batch)
    other = batch._replace(hq=[clip * 5 for clip in batch.hq])
    assert objective.loss(other)[0].item() == loss.item()
    assert objective.generator.calls[0][4].tolist() == [1000, 1000]


def test_loss_depends_on_the_key_only(make, make_batch):
    objective = make()
    first, again, other = (objective.loss(make_batch(key))[0].item() for key in ("a", "a", "b"))
    assert first == again != other


def test_preview_takes_the_steps_of_the_student(make, make_batch):
    objective = make(steps=4, stride=2)
    with torch.no_grad():
        objective.preview(make_batch())
    assert [call[4][0].item() for call in objective.generator.calls] == [1000, 500]


def test_weights_of_teacher_student_and_prompts_are_required(make, recorder):
    make(teacher_weights="base/generator", student_weights="small/generator")
    assert recorder.asked == [("base/generator",), ("small/generator",), ("prompts",)]
    assert not recorder.built["teacher"].training
