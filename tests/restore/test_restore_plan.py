import copy
import functools
import itertools
import math
from dataclasses import replace

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.causal import Carry
from seedvr2.models.vae.inference import LADDER, InferenceVAE, Tiling, layers, norm, strips
from seedvr2.restore.memory import give_back_at_once, parse_memory, write_memory
from seedvr2.restore.offload import streamed_bytes
from seedvr2.restore.plan.choose import SHARE, Task, choose, predict, ways
from seedvr2.restore.plan.host import frame_bytes
from seedvr2.restore.plan.networks import Outline, outline_model
from seedvr2.restore.plan.prediction import STAGES, Film
from seedvr2.restore.plan.report import line, seconds, table
from seedvr2.restore.plan.settings import Settings, busy_chunk, ladder
from seedvr2.restore.plan.speed import Rates
from seedvr2.restore.resize import Size
from seedvr2.restore.search import ModelFiles, find_model

TRACES = {}  # of films that several tests plan
RATES = Rates(1e12, 1e12, 1e11, 1e10)
GPU = torch.device("cuda")  # plans are made on the meta device, so none is needed


@functools.lru_cache
def released(name="3b", weights="full"):
    nothing = torch.device("meta")
    files = ModelFiles(name, "nowhere", nothing, nothing, nothing, released=name)
    return outline_model(files, dtype=torch.bfloat16, weights=weights)


def task(
    networks,
    *,
    size=(64, 64),
    frames=41,
    budget=1e15,
    host=math.inf,
    device=GPU,
    window=5,
    is_fixed=False,
    resident=None,
):
    film = Film(Size(32, 32), Size(*size), frames)
    dtype = next(networks.vae.parameters()).dtype
    given = Settings(window, resident=resident)
    traces = TRACES.setdefault((networks, film, device), {})
    return Task(networks, film, device, dtype, {"steps": 1}, given, is_fixed, budget, host, traces=traces)


@pytest.fixture(scope="module")
def small(generator, codec):
    """The small random networks, on the meta device."""
    vae = InferenceVAE(copy.deepcopy(codec.vae))
    return Outline(copy.deepcopy(generator).to("meta"), vae.to("meta"), torch.empty(5, 8, device="meta"))


def test_the_fastest_settings_are_taken_if_they_fit(small):
    wanted = task(small)
    plan, tried = choose(wanted)
    assert tried == []
    assert plan.settings == ways(wanted)[0]
    assert plan.settings.chunk == busy_chunk(64, 64) > 1


def test_a_plan_goes_down_exactly_as_far_as_it_must(small):
    everything = [predict(task(small), settings) for settings in ways(task(small))]
    middle = everything[len(everything) // 2]
    plan, tried = choose(task(small, budget=middle.needed))
    assert plan.needed <= middle.needed
    assert all(other.needed > middle.needed for other in tried)
    assert [p.settings for p in (*tried, plan)] == ways(task(small))[: len(tried) + 1]


def test_what_changes_results_is_left_alone_if_it_is_given(small):
    assert {settings.window for settings in ways(task(small, is_fixed=True))} == {5}
    windows = [settings.window for settings in ways(task(small))]
    assert windows == sorted(windows, reverse=True)
    assert windows[-1] < 5
    assert all(settings.window == 5 for settings in ways(task(small)) if settings.resident != 0)


def test_a_cpu_neither_streams_blocks_nor_moves_histories(small):
    for settings in ways(task(small, device=torch.device("cpu"))):
        assert settings.resident is None
        assert not settings.tiling.needs_host


def test_the_plain_autoencoder_has_no_tiling_to_change(small, codec):
    plain = small._replace(vae=copy.deepcopy(codec.vae).to("meta"))
    assert {settings.tiling for settings in ways(task(plain))} == {LADDER[0]}
    assert len({settings.tiling for settings in ways(task(small))}) > 1


def test_what_cannot_fit_is_refused_with_numbers(small):
    with pytest.raises(UserError, match=r"64x64 needs .* GB even with windows of 5 frames.*--short-side"):
        choose(task(small, budget=1000, is_fixed=False, window=2))


def test_memory_of_the_host_is_limited_too(small):
    still = {"size": (32, 32), "frames": 1, "is_fixed": True}
    first, last = (predict(task(small, **still), ways(task(small, **still))[place]) for place in (0, -1))
    assert first.host < last.host, "weights and histories go to the host on the way down"
    for host, fits in ((last.host, True), (last.host - 1, False)):
        assert predict(task(small, **still, host=host), last.settings).fits == fits
    with pytest.raises(UserError, match=r"of the host's memory .*--weights int8"):
        choose(task(small, **still, host=first.host - 1))


def test_the_memory_of_the_host_that_is_asked_for_is_what_the_device_leaves_to_it(small):
    still = {"size": (32, 32), "frames": 1, "is_fixed": True}
    plans = [predict(task(small, **still), settings) for settings in ways(task(small, **still))]
    budget, host = min(plan.needed for plan in plans), min(plan.host for plan in plans)
    enough = min(plan.host for plan in plans if plan.needed <= budget)
    assert host < enough
    with pytest.raises(UserError, match=f"needs {write_memory(enough)} of the host's memory"):
        choose(task(small, **still, budget=budget, host=host))


def test_histories_that_wait_on_the_host_are_counted_there_and_not_on_the_device(small, codec):
    kept, parked, fetched = plans = [
        predict(task(small), Settings(3, 1, Tiling(frames=1, **how))) for how in ({}, {"parks": True}, {"host": True})
    ]
    vae, histories = InferenceVAE(copy.deepcopy(codec.vae), Tiling(frames=1)), (Carry(), Carry())
    vae.encode(torch.zeros(1, 3, 9, 64, 64), histories[0])
    encoder = vae.held()
    vae.decode(torch.zeros(1, vae.latent_channels, 3, 8, 8), histories[1])
    decoder = vae.held() - encoder
    assert 0 < encoder < decoder
    saved = {"encode": (decoder, encoder + decoder), "decode": (encoder, encoder + decoder)}
    for stage, sizes in (saved | {"generate": (decoder, encoder + decoder)}).items():
        assert tuple(kept.most[stage] - plan.most[stage] for plan in (parked, fetched)) == sizes
    assert [plan.host - kept.host for plan in (parked, fetched)] == [decoder, encoder + decoder]
    times = [sum(seconds(plan, RATES).values()) for plan in plans]
    assert times == sorted(set(times))


def test_devices_that_share_a_clip_keep_its_histories_whole(small):
    shared = replace(task(small), is_split=True)
    assert all(settings.tiling.frames is None and not settings.tiling.needs_host for settings in ways(shared))
    assert len({settings.tiling for settings in ways(shared)}) > 1
    assert any(settings.tiling.host for settings in ways(task(small)))


def test_less_memory_is_needed_further_down():
    networks = released()
    needed = [
        predict(task(networks, size=(192, 320), window=9, is_fixed=True), Settings(9, chunk, tiling, resident)).needed
        for chunk, tiling, resident in ((2, LADDER[0], None), (1, LADDER[-1], None), (1, LADDER[-1], 0))
    ]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] < needed[0] / 2


def test_the_fastest_settings_of_the_3b_take_24_gb_for_100_frames_of_768x1344():
    plan, tried = choose(task(released(), size=(768, 1344), frames=100, window=9))
    assert not tried
    assert plan.needed <= 24e9


def test_1080p_with_the_3b_fits_a_gpu_of_24_gb_in_a_host_of_32():
    limits = {"budget": SHARE * 24e9, "host": SHARE * 32e9}
    plan, _ = choose(task(released(), size=(1080, 1920), frames=100, window=9, **limits))
    assert plan.settings.window == 9
    assert plan.settings.tiling.parks


def test_weights_are_those_of_the_released_sizes_in_every_storage():
    full, small = released().bytes(), released(weights="int8").bytes()
    assert full["generator"] == pytest.approx(6.783e9, rel=1e-3)
    assert full["vae"] >= 250_648_227 * 2
    blocks = released().generator.trunk.blocks
    away, visiting, locked = streamed_bytes(blocks, 8)
    assert 0.7 < away / full["generator"] < 0.75
    assert visiting < 0.1 * full["generator"]
    assert away < locked < 1.2 * away
    assert 0.5 < small["generator"] / full["generator"] < 0.53


@pytest.mark.parametrize("is_host", [True, False])
def test_frames_in_host_memory_do_not_depend_on_the_length_of_a_film(is_host):
    def size(**film):
        return frame_bytes(Film(Size(100, 100), Size(400, 400), **film), Settings(5), is_host=is_host)

    assert size(frames=1000) == size()
    assert size(frames=1) < size() / 10


@pytest.mark.parametrize("window", [1, 5])
def test_time_grows_with_the_number_of_frames(window, small):
    times = (seconds(predict(task(small, frames=n), Settings(window)), RATES) for n in (201, 401, None))
    for short, long, endless in zip(*(found.values() for found in times), strict=True):
        assert long / short == pytest.approx(2, rel=0.05)
        assert endless * 400 == pytest.approx(long, rel=0.05)


@pytest.mark.parametrize(("frames", "chunk"), [(1, 4), (2, 1), (5, 4), (6, 1), (9, 1), (40, 4), (None, 1)])
def test_films_of_any_length_can_be_foretold(frames, chunk, small):
    plan = predict(task(small, frames=frames), Settings(3, chunk))
    assert all(math.isfinite(size) and size > 0 for size in plan.most.values())
    assert "about" in line(plan, RATES)
    assert len(table(plan, [], RATES)) == 8


def test_steps_of_a_ladder_never_repeat():
    steps = list(ladder(Settings(9, 8), blocks=32, offload=True, windows=True))
    assert len(set(steps)) == len(steps)
    assert all(b.chunk <= a.chunk and b.window <= a.window for a, b in itertools.pairwise(steps))
    assert list(ladder(steps[-1], blocks=32, offload=True, windows=False)) == []


def test_memory_is_read_and_written():
    assert parse_memory("24GB") == parse_memory("24g") == 24 * 10**9
    assert parse_memory("7.5 GiB") == 7.5 * 10**9
    assert write_memory(24e9) == "24.0 GB"
    for text in ("", "much", "0", "-3GB", "12X", "24"):
        with pytest.raises(UserError, match="--max-memory"):
            parse_memory(text)
    give_back_at_once()


def test_the_bundled_model_is_outlined_without_its_weights():
    networks = outline_model(find_model("tiny", has_gpu=False), dtype=torch.float32)
    assert all(x.is_meta for x in (*networks.generator.parameters(), *networks.vae.parameters(), networks.prompt))


@torch.no_grad()
def test_tracing_leaves_no_trace(small, generator, codec, prompt):
    predict(task(small), Settings(3))
    rows, latent = torch.randn(2 * 16, 33), torch.randn(1, 4, 4, 16)
    generator(rows, prompt, [(2, 4, 4)], [5], torch.tensor([1000.0]))
    assert not LatentCodec(codec.vae).decode(latent).is_meta


def test_turns_that_are_alike_are_planned_as_if_each_were_traced(small, monkeypatch):
    wanted = task(small, size=(32, 512), frames=6, device=torch.device("cpu"))
    settings = wanted.given._replace(tiling=replace(LADDER[0], workspace=1))  # strips of two rows
    few = predict(wanted, settings)
    turns = 0

    def every(items, device):
        nonlocal turns
        turns = max(turns, len(items))
        return iter(items)

    for module in (strips, norm, layers):
        monkeypatch.setattr(module, "alike", every)
    each = predict(replace(wanted, traces={}), settings)
    assert turns >= 16
    assert few.most == each.most
    assert few.traced.layers == each.traced.layers
    for stage in STAGES:
        for short, whole in zip(few.traced.work[stage], each.traced.work[stage], strict=True):
            assert {kind: pytest.approx(flops, rel=1e-2) for kind, flops in whole.items()} == dict(short)
