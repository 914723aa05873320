import copy

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.causal import Carry
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore.events import Events
from seedvr2.restore.memory import is_out_of_memory
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.recovery import Retreat, SteadyCodec, SteadyGenerator
from seedvr2.restore.shot import ShotRestorer

STEPS = [4, 2, 1, 1, 1, 1]  # chunks on the way down


@pytest.fixture
def clips(clip):
    """Forty frames, more than a window and several chunks."""
    return (clip + clip[::-1])[:40]


def retreat(steps=STEPS):
    less = [Settings(3, chunk=chunk) for chunk in steps[1:]]
    return Retreat(
        Settings(3, chunk=steps[0]), lambda _: iter(less), lambda _: None, torch.device("cpu"), Events(quiet=True)
    )


def restorer(generator, codec, prompt, way):
    return ShotRestorer(
        SteadyGenerator(generator, way), SteadyCodec(codec, way), prompt=prompt, window=3, chunk=way.settings.chunk
    )


class Shaky(TorchFunctionMode):
    """Lets some calls of what networks consist of fail, counted from 0."""

    PARTS = (F.conv2d, F.conv3d, F.linear, F.batch_norm, F.silu, F.rms_norm, F.scaled_dot_product_attention)

    def __init__(self, calls=(), error=None):
        super().__init__()
        self.count, self.calls, self.error = 0, set(calls), error

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in self.PARTS:
            self.count += 1
            if self.count - 1 in self.calls:
                raise self.error
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("make", "seed", "error"),
    [
        (lambda vae: vae, 0, torch.OutOfMemoryError("no")),
        (InferenceVAE, 1, RuntimeError("[enforce fail] can't allocate memory: you tried")),
    ],
    ids=["plain", "inference"],
)
def test_frames_are_those_of_an_undisturbed_run_wherever_memory_runs_out(
    make, seed, error, generator, codec, prompt, clips
):
    codec = LatentCodec(make(codec.vae))
    with Shaky() as counter:
        expected = list(restorer(generator, codec, prompt, retreat()).restore(clips))
    draw = torch.Generator().manual_seed(seed)
    way = retreat()
    with Shaky(torch.randint(counter.count, (4,), generator=draw).tolist(), error):
        found = list(restorer(generator, codec, prompt, way).restore(clips))
    assert len(way.steps) == 4
    worst = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    assert worst < 2e-5


def test_a_history_is_made_again_after_long_streams_too(codec, clips):
    # longer than the autoencoder looks back, so that what is kept has been trimmed
    way = retreat()
    steady = SteadyCodec(codec, way)
    frames = torch.stack([frame[:, :16, :16] for frame in (clips * 4)[:145]])
    plain, trimmed = LatentCodec(codec.vae), []
    broken = LatentCodec(copy.deepcopy(codec.vae))
    steady.codec = broken
    armed = [False]

    def fail(*_):
        if armed[0]:
            armed[0] = False
            raise torch.OutOfMemoryError("no")

    broken.vae.encoder.conv_out.register_forward_pre_hook(fail)
    history = Carry()
    with torch.no_grad():
        expected = plain.encode(frames)
        for start, stop in ((0, 17), (17, 33), *((n, n + 16) for n in range(33, 145, 16))):
            armed[0] = stop == 145
            trimmed.append(steady.encode(frames[start:stop], history=history))
    assert not armed[0]
    assert len(way.steps) == 1
    assert torch.allclose(torch.cat(trimmed), expected, atol=2e-5)
    assert history.is_start(broken.vae.encoder.conv_out), "what the failed call left of a history takes no memory"


def test_without_trouble_the_history_of_the_stream_is_used(codec, clips):
    history = Carry()
    with torch.no_grad():
        SteadyCodec(codec, retreat()).encode(torch.stack([f[:, :16, :16] for f in clips[:5]]), history=history)
    assert not history.is_start(codec.vae.encoder.conv_in)


def test_others_leave_before_the_generator_runs_again():
    said = []

    def generator(rows):
        said.append("run")
        if said.count("leave") < 2:
            raise torch.OutOfMemoryError("no")
        return rows

    assert SteadyGenerator(generator, retreat(), lambda: said.append("leave"))(3) == 3
    assert said == ["run", "leave"] * 2 + ["run"]


def test_when_no_settings_are_left_the_user_is_told(generator, codec, prompt, clips):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    broken = copy.deepcopy(codec.vae)
    broken.encoder.conv_in.register_forward_pre_hook(fail)
    way = retreat([2, 1])
    with pytest.raises(UserError, match=r"even with the smallest settings .*CUDA out of memory.*--short-side"):
        list(restorer(generator, LatentCodec(broken), prompt, way).restore(clips))


def test_a_clip_that_does_not_fit_does_not_spoil_the_next_one(generator, codec, prompt, clips):
    way, left = retreat([2, 1]), [2]

    def fail(*_):
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")

    scarce = copy.deepcopy(codec.vae)
    scarce.encoder.conv_in.register_forward_pre_hook(fail)
    model = restorer(generator, LatentCodec(scarce), prompt, way)
    with pytest.raises(UserError, match="smallest settings"):
        list(model.restore(clips))
    calm = restorer(generator, codec, prompt, retreat([1]))
    assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(model.restore(clips), calm.restore(clips), strict=True))


def test_settings_that_cannot_be_put_into_effect_are_passed_over():
    applied = []

    def apply(settings):
        if settings.chunk == 2:
            raise RuntimeError("CUDA error: out of memory")
        applied.append(settings.chunk)

    less = [Settings(3, chunk=chunk) for chunk in (2, 1)]
    way = Retreat(Settings(3, chunk=4), lambda _: iter(less), apply, torch.device("cpu"), Events(quiet=True))
    assert way.attempt(lambda: (_ for _ in ()).throw(MemoryError())) is None
    assert (applied, way.settings.chunk, len(way.steps)) == ([4, 1], 1, 1)


def test_other_errors_are_left_alone(generator, codec, prompt, clips):
    broken = copy.deepcopy(codec.vae)
    broken.encoder.conv_in.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(restorer(generator, LatentCodec(broken), prompt, retreat()).restore(clips))


def test_what_running_out_looks_like():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("GET was unable to find an engine to execute this computation"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("out of memory"))
