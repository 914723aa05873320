"""The network of DOVER's technical score is the published one."""

import pytest
import torch

from seedvr2.evaluation.dover_network import Technical, fragment_gaps, merge, partition, relative_places, separated


@pytest.fixture(scope="module")
def network():
    """Parameters drawn in the order of their names, far from zero so that each one matters."""
    network = Technical().eval()
    random = torch.Generator().manual_seed(0)
    for name, value in sorted(network.named_parameters()):
        spread = 0.5 if name.endswith("table") else 0.03
        value.data = torch.randn(value.shape, generator=random) * spread + float("norm" in name and "weight" in name)
    return network


def test_the_backbone_has_the_released_number_of_parameters(network):
    assert sum(value.numel() for value in network.technical_backbone.parameters()) == 28_078_620
    assert sum(value.numel() for value in network.technical_head.parameters()) == 768 * 64 + 64 + 64 + 1


def test_names_are_those_of_the_released_file(network):
    names = set(network.state_dict())
    attention = "technical_backbone.layers.2.blocks.5.attn."
    parts = "relative_position_bias_table", "fragment_position_bias_table", "relative_position_index", "qkv.weight"
    assert {attention + part for part in parts} <= names
    backbone = "patch_embed.norm.weight", "layers.0.downsample.reduction.weight", "norm.bias"
    assert {f"technical_backbone.{part}" for part in backbone} <= names
    assert {"technical_head.fc_hid.weight", "technical_head.fc_last.bias"} <= names
    assert "technical_backbone.layers.3.blocks.0.attn.fragment_position_bias_table" not in names
    assert "technical_backbone.layers.3.downsample.norm.weight" not in names


def test_outputs_are_those_of_the_official_network_with_the_same_parameters(network):
    video = torch.randn(1, 3, 4, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = network.technical_head(network.technical_backbone(video))
    assert scores.shape == (1, 1, 2, 7, 7)
    found = [scores.mean(), scores.std(), scores[0, 0, 0, 0, 0], scores[0, 0, -1, 3, 6]]
    official = [0.047118, 0.111939, -0.003084, -0.063466]  # by the program of the paper's authors
    assert [float(value) for value in found] == pytest.approx(official, abs=2e-5)


def test_windows_are_put_back_where_they_came_from():
    tokens = torch.arange(2 * 4 * 6 * 8 * 3.0).view(2, 4, 6, 8, 3)
    windows = partition(tokens, (2, 3, 4))
    assert windows.shape == (2, 8, 24, 3)
    assert torch.equal(windows[0, 1].view(2, 3, 4, 3), tokens[0, :2, :3, 4:])
    assert torch.equal(merge(windows, (2, 3, 4), (4, 6, 8)), tokens)


def test_pairs_share_a_row_of_the_bias_table_if_and_only_if_their_offset_is_the_same():
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(2))
    offsets = {}
    for i, j in torch.cartesian_prod(torch.arange(12), torch.arange(12)).tolist():
        offsets.setdefault(tuple((places[i] - places[j]).tolist()), set()).add(int(relative_places((2, 3, 2))[i, j]))
    assert all(len(rows) == 1 for rows in offsets.values())
    assert sorted(row for rows in offsets.values() for row in rows) == list(range(3 * 5 * 3))


def test_gaps_count_fragments_between_tokens():
    aligned = fragment_gaps((2, 56, 56), (2, 7, 7), (0, 0, 0))  # 8 tokens a fragment, 7 a window: two in most windows
    assert aligned[0].eq(0).all()
    assert aligned.max() == 2
    assert fragment_gaps((2, 7, 7), (2, 7, 7), (0, 0, 0)).max() == 12  # 7 x 7 fragments of one token each


def test_only_tokens_from_both_sides_of_a_seam_are_separated():
    apart = separated((2, 14, 14), (2, 7, 7), (0, 3, 3))
    assert apart.shape == (4, 98, 98)
    assert apart[0].eq(0).all()  # the first window holds no seam
    assert apart[3].unique().tolist() == [-100, 0]
    rows = torch.arange(98) // 7 % 7 >= 4
    assert torch.equal(apart[2] < 0, rows[:, None] != rows[None])  # bottom left: seam between rows 4 and 5 from the top
