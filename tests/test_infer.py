import copy
import itertools
import os
import signal
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from seedvr2 import infer
from seedvr2.io.images import read_image, write_image
from seedvr2.io.reader import open_video, read_frames
from seedvr2.io.segments import SegmentWriter
from seedvr2.io.writer import VideoWriter
from seedvr2.models.codec import LatentCodec
from seedvr2.models.vae.autoencoder import VideoVAE
from seedvr2.models.vae.inference import InferenceVAE
from seedvr2.restore import loading, planning
from seedvr2.restore.models import Model
from seedvr2.restore.plan.networks import Outline
from seedvr2.restore.resize import Size, as_samples, resize_frame
from seedvr2.restore.search import ModelFiles

FRAMES = 7
RATE = Fraction(30000, 1001)


def picture(index, height=24, width=32):
    rows, columns = np.mgrid[:height, :width] / 8
    waves = [np.sin(rows + 0.3 * index), np.cos(columns), np.sin(rows + columns)]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture
def video(tmp_path):
    """Seven frames of 32x24 with sound."""
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 12000), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts = 48000, 0
        container.mux(stream.encode(tone))
        container.mux(stream.encode(None))
    path = tmp_path / "in" / "lq.mp4"
    path.parent.mkdir()
    with VideoWriter(path, width=32, height=24, rate=RATE, sample_aspect=Fraction(4, 3), sound_of=sound) as writer:
        for index in range(FRAMES):
            writer.write(picture(index))
    sound.unlink()
    return path


@pytest.fixture(autouse=True)
def loaded(make_generator, monkeypatch, tmp_path_factory):
    """Replace the bundled model by small random networks; returns the names that were asked for."""
    asked = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vae = VideoVAE((16, 16, 16, 16), 1, groups=8).eval().requires_grad_(False)
    generator = make_generator("3b").eval().requires_grad_(False)

    folder = tmp_path_factory.mktemp("model")
    files = [folder / part for part in ("vae", "generator", "prompts")]
    for file in files:
        file.write_text(file.name)

    def find(name, *, has_gpu, models):
        asked.append(name)
        return ModelFiles(name or "tiny", "bundled", *files)

    def load(files, *, device, dtype, posterior, adapters=None):
        networks = [copy.deepcopy(network).to(dtype) for network in (generator, vae)]
        return Model(networks[0], LatentCodec(networks[1], posterior=posterior), torch.zeros(3, 8))

    def outline(files, *, dtype, **_):
        networks = [copy.deepcopy(network).to("meta", dtype) for network in (generator, vae)]
        return Outline(networks[0], InferenceVAE(networks[1]), torch.zeros(3, 8, device="meta", dtype=dtype))

    monkeypatch.setattr(planning, "outline_model", outline)
    monkeypatch.setattr(loading, "find_model", find)
    monkeypatch.setattr(loading, "load_model", load)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield asked
    torch.set_num_threads(threads)


def run(*arguments):
    infer.main([str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    """The one sentence of a command that ends with exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def sound(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_a_video_keeps_frames_rate_pixel_shape_and_sound(video, capsys):
    run("--input", video)
    output = video.with_name("lq_restored.mp4")
    with open_video(output) as restored:
        info = restored.info
        times = [pts * info.time_base for _, pts in restored.frames()]
    assert (info.width, info.height, info.rate, info.sample_aspect) == (128, 96, RATE, Fraction(4, 3))
    assert (info.codec, info.colorspace, info.color_primaries, info.color_curve) == ("h264", 1, 1, 1)
    assert len(times) == FRAMES
    assert [after - before for before, after in itertools.pairwise(times)] == [1 / RATE] * (FRAMES - 1)
    assert sound(output) == sound(video)
    printed = capsys.readouterr()
    assert "model tiny (bundled) on cpu" in printed.out
    assert "the bundled tiny model runs" in printed.out
    assert "32x24 to 128x96" in printed.out
    assert f"wrote {output}" in printed.out
    assert "7 of 7 frames" in printed.err
    assert sorted(os.listdir(video.parent)) == ["lq.mp4", "lq_restored.mp4", "lq_restored.mp4.json"]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--scale", "1.5"], (36, 48)),
        (["--short-side", "30"], (30, 40)),
        (["--size", "45x33"], (33, 45)),
    ],
)
def test_the_output_has_the_size_that_was_asked_for(video, tmp_path, arguments, size):
    run("--input", video, "--output", tmp_path / "out.mkv", *arguments)
    frames = list(read_frames(tmp_path / "out.mkv"))
    assert len(frames) == FRAMES
    assert frames[0].shape == (*size, 3)


def test_an_exact_size_of_another_shape_does_not_distort(video, tmp_path):
    run("--input", video, "--output", tmp_path / "out.mp4", "--size", "64x64")
    with open_video(tmp_path / "out.mp4") as restored:
        assert restored.info.sample_aspect == Fraction(16, 9)


def test_variable_frame_times_are_kept(tmp_path):
    stamps = [0, 3003, 9009, 12012, 30030]
    options = {"rate": Fraction(22500, 1001), "time_base": Fraction(1, 90000)}
    with VideoWriter(tmp_path / "lq.mp4", width=32, height=24, **options) as writer:
        for index, pts in enumerate(stamps):
            writer.write(picture(index), pts=pts)
    run("--input", tmp_path / "lq.mp4", "--output", tmp_path / "out.mp4", "--scale", "1")
    with open_video(tmp_path / "out.mp4") as restored:
        assert [pts * restored.info.time_base * 90000 for _, pts in restored.frames()] == stamps


def test_names_that_look_like_a_protocol_are_files(video, monkeypatch):
    monkeypatch.chdir(video.parent)
    video.rename("12:30.mp4")
    run("--input", "12:30.mp4", "--scale", "1")
    assert sound(video.with_name("12:30_restored.mp4")) == sound(video.with_name("12:30.mp4"))


def test_compare_shows_bicubic_left_and_restored_right(video, tmp_path):
    run("--input", video, "--output", tmp_path / "out.mp4", "--compare", "--scale", "2")
    both = np.stack(list(read_frames(tmp_path / "out_compare.mp4"))).astype(float)
    restored = np.stack(list(read_frames(tmp_path / "out.mp4"))).astype(float)
    bicubic = np.stack([as_samples(resize_frame(frame, Size(48, 64)), np.uint8) for frame in read_frames(video)])
    assert both.shape == (FRAMES, 48, 128, 3)
    assert np.abs(both[:, :, :64] - bicubic).mean() < 4
    assert np.abs(both[:, :, 64:] - restored).mean() < 4
    assert sound(tmp_path / "out_compare.mp4") == sound(video)


def test_an_image_becomes_an_image(tmp_path):
    write_image(tmp_path / "lq.png", picture(0))
    run("--input", tmp_path / "lq.png", "--compare", "--scale", "1.25", "--color-fix", "wavelet")
    restored = read_image(tmp_path / "lq_restored.png")
    both = read_image(tmp_path / "lq_restored_compare.png")
    assert restored.shape == (30, 40, 3)
    assert both.shape == (30, 80, 3)
    assert np.array_equal(both[:, 40:], restored)
    assert np.array_equal(both[:, :40], as_samples(resize_frame(picture(0), Size(30, 40)), np.uint8))


def test_the_seed_and_the_model_reach_the_restoration(tmp_path, loaded):
    write_image(tmp_path / "lq.png", picture(0))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("--input", tmp_path / "lq.png", "--output", tmp_path / f"{name}.png", "--seed", seed, "--model", "7b")
    first, again, other = (read_image(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(loaded) == {"7b"}


def test_the_precision_is_chosen_by_name(tmp_path, capsys):
    write_image(tmp_path / "lq.png", picture(0))
    results = {}
    for dtype in ("fp32", "bf16"):
        run("--input", tmp_path / "lq.png", "--output", tmp_path / f"{dtype}.png", "--dtype", dtype, "--scale", "1")
        assert f"on cpu, {dtype}, 1 step" in capsys.readouterr().out
        results[dtype] = read_image(tmp_path / f"{dtype}.png").astype(float)
    assert 0 < np.abs(results["bf16"] - results["fp32"]).mean() < 3


def test_a_multi_step_model_takes_several_steps(tmp_path, monkeypatch, capsys):
    multi_step = ModelFiles("run", "stage base", *[tmp_path / "lq.png"] * 3, steps=None)
    monkeypatch.setattr(loading, "find_model", lambda name, *, has_gpu, models: multi_step)
    write_image(tmp_path / "lq.png", picture(0))
    for name, arguments, steps in (("a", (), "8 steps"), ("b", ("--steps", "2"), "2 steps")):
        run("--input", tmp_path / "lq.png", "--output", tmp_path / f"{name}.png", "--scale", "1", *arguments)
        assert f", {steps}, " in capsys.readouterr().out
    assert not np.array_equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--scale", "0"], "--scale 0 makes no sense"),
        (["--scale", "many"], "invalid float value: 'many'"),
        (["--size", "1280"], "WIDTHxHEIGHT"),
        (["--size", "10000x100", "--compare"], "--compare makes an output of 20000x100"),
        (["--short-side", "-1"], "positive number of pixels"),
        (["--scale", "2", "--size", "64x48"], "not allowed with"),
        (["--window", "16"], "use for instance 17"),
        (["--window", "0"], "--window 0 is not 4k + 1 frames"),
        (["--steps", "0"], "--steps 0 makes no sense"),
        (["--lora-strength", "0.5"], "--lora-strength 0.5 has nothing to scale"),
        (["--lora", "x.safetensors", "--lora-strength", "nan"], "--lora-strength nan makes no sense"),
        (["--steps", "4"], "--steps 4 does not fit tiny, which is made for 1"),
        (["--scale", "nan"], "--scale nan makes no sense"),
        (["--size", ""], "WIDTHxHEIGHT"),
        (["--color-fix", "lab"], "invalid choice: 'lab'"),
        (["--device", "abacus"], "--device abacus is not available"),
        (["--device", "meta"], "--device meta is not available"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--output", "x" * 251 + ".mp4"], "is too long"),
        (["--output", "/no/such/folder/out.mp4"], "/no/such/folder does not exist"),
        (["--output", "out.png"], "out.png holds one picture, not"),
        (["--output", "out.wmv"], "does not end in one of .mp4"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(video, capsys, arguments, match):
    assert match in refusal(capsys, "--input", video, *arguments)
    assert os.listdir(video.parent) == ["lq.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("lq.mp4", None, "stands for no video"),
        ("lq.mp4", b"", "is empty"),
        ("lq.mp4", b"not a video at all", "cannot be read as a video"),
        ("lq.png", b"not an image at all", "cannot be read as an image"),
    ],
)
def test_bad_inputs_are_one_sentence_and_leave_nothing(tmp_path, capsys, name, content, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert match in refusal(capsys, "--input", tmp_path / name)
    assert os.listdir(tmp_path) == ([] if content is None else [name])


def test_existing_outputs_and_the_input_are_not_overwritten(video, capsys):
    output = video.with_name("out.mp4")
    output.write_text("mine")
    assert "--overwrite" in refusal(capsys, "--input", video, "--output", output)
    assert "is the input" in refusal(capsys, "--input", video, "--output", video, "--overwrite")
    compare = video.with_name("new_compare.mp4")
    compare.write_text("mine")
    assert "new_compare" in refusal(capsys, "--input", video, "--output", video.with_name("new.mp4"), "--compare")
    assert output.read_text() == compare.read_text() == "mine"
    run("--input", video, "--output", output, "--overwrite")
    assert len(list(read_frames(output))) == FRAMES


def test_sigterm_before_a_segment_is_finished_leaves_nothing(video, monkeypatch):
    def interrupted(self, picture, tick):
        assert [name for name in os.listdir(video.parent / ".lq_restored.mp4.work") if name.endswith(".part")]
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(SegmentWriter, "write", interrupted)
    with pytest.raises(SystemExit) as exit_:
        run("--input", video, "--compare")
    assert exit_.value.code == 143
    assert os.listdir(video.parent) == ["lq.mp4"]
    assert signal.getsignal(signal.SIGTERM) == before
