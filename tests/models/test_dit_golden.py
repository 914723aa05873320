"""The generator against outputs of the official code with the same random weights."""

import pytest
import torch

TOLERANCE = {"3b": 5e-5, "7b": 1e-4}


def alone(network, case: dict[str, torch.Tensor]) -> torch.Tensor:
    """Output of each clip run by itself, one after the other."""
    sizes = [tuple(size) for size in case["vid_shape"].tolist()]
    videos = case["vid"].split([t * h * w for t, h, w in sizes])
    texts = case["txt"].split(case["txt_shape"].flatten().tolist())
    return torch.cat(
        [
            network(video, text, [size], [len(text)], when[None])
            for video, text, size, when in zip(videos, texts, sizes, case["timestep"], strict=True)
        ]
    )


def case_of(golden, family: str, name: str) -> dict[str, torch.Tensor]:
    return {key[7:]: value for key, value in golden(f"dit_{family}_tiny").items() if key.startswith(f"{name}.")}


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_long_clips_equal_the_official_outputs(golden, golden_dit, family):
    case = case_of(golden, family, "case_a")  # several windows in time, shifted in time
    assert (alone(golden_dit(family), case) - case["out"]).abs().max() <= TOLERANCE[family]


@pytest.mark.parametrize("family", ["3b", "7b"])
def test_large_frames_and_images_equal_the_official_outputs(golden, golden_dit, family):
    case = case_of(golden, family, "case_b")  # several windows in space, shifted in space; a single image
    assert (alone(golden_dit(family), case)[::4] - case["out_every_4th_row"]).abs().max() <= TOLERANCE[family]


@pytest.mark.parametrize("family", ["3b", "7b"])
@pytest.mark.parametrize("name", ["case_a", "case_b"])
def test_packed_clips_equal_the_same_clips_alone(golden, golden_dit, family, name):
    network, case = golden_dit(family), case_of(golden, family, name)
    packed = network(case["vid"], case["txt"], case["vid_shape"], case["txt_shape"], case["timestep"])
    assert (packed - alone(network, case)).abs().max() <= 5e-5
