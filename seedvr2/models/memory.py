"""Memory of networks that nobody needs any more."""

import gc

import torch

from seedvr2.models.dit import plan_layer


def limit_tables() -> None:
    """Free the tables of windows if there are more than a shot needs: two kinds for whole windows, and for its last."""
    if plan_layer.cache_info().currsize > 4:
        plan_layer.cache_clear()


def release(device: torch.device) -> None:
    """Free what nobody refers to any more, and tables that can be made again."""
    plan_layer.cache_clear()
    gc.collect()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
