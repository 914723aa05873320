"""The table of prompt embeddings."""

import pytest
import torch

from seedvr2.errors import UserError
from seedvr2.models.prompts import Prompts


def test_prompts_have_their_own_lengths_and_can_be_frozen():
    prompts = Prompts(tokens=5, dim=3, negative_tokens=7, trainable=False)
    assert {kind: tuple(prompts(kind).shape) for kind in ("positive", "negative", "null")} == {
        "positive": (5, 3),
        "negative": (7, 3),
        "null": (5, 3),
    }
    assert not any(parameter.requires_grad for parameter in prompts.parameters())
    assert not torch.equal(prompts("positive"), prompts("null"))


def test_an_unknown_prompt_is_refused_by_name():
    with pytest.raises(UserError, match="'postive'"):
        Prompts()("postive")
