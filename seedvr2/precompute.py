"""Encode training pairs once: `python -m seedvr2.precompute data.root=DIR weights=ema_vae.pth output=DIR`.

Writes a latent cache (`training/latent_cache.py`) that training reads by `stages.NAME.feed.cache=DIR`. Start it with
torchrun to share the work; killed, the same command goes on. Everything else is in `configs/precompute.yaml`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from seedvr2 import config
from seedvr2.errors import Parser, main_guard, orderly_termination
from seedvr2.parallel.crew import speaks
from seedvr2.parallel.mesh import Parallelism
from seedvr2.parallel.runtime import Runtime
from seedvr2.restore.device import pick_device
from seedvr2.training.encoding import encode_shards


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry; a user's mistake ends in one sentence and exit code 2."""
    parser = Parser(
        prog="python -m seedvr2.precompute",
        description=__doc__.split("\n")[0],
        epilog="example: torchrun --nproc-per-node 8 -m seedvr2.precompute weights=ema_vae.pth data=video_720p "
        "data.root=CLIPS output=CACHE",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="configuration overrides")
    parser.add_argument("--config-dir", type=Path, help="folder with configuration files of your own")
    parser.add_argument("--cfg", choices=["job"], help="print the composed configuration and stop")
    with main_guard("seedvr2.precompute", speaks=speaks()), orderly_termination():
        options = parser.parse_intermixed_args(arguments)
        settings = config.plain(config.load("precompute", options.overrides, extra=options.config_dir))
        if options.cfg:
            print(yaml.safe_dump(settings, sort_keys=False), end="")
            return
        precompute(settings)


def precompute(settings: dict) -> None:
    """Encode what a plain config describes; ranks of torchrun take turns at the shards and need not talk."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen, threads = settings.pop("device"), settings.pop("threads")
    settings.pop("degradation")  # data refers to it
    config.check_arguments(encode_shards, settings, "precompute", complete=False)
    device = pick_device(None if chosen == "auto" else chosen)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if threads:
        torch.set_num_threads(threads)
    built = {name: config.build(part, name) for name, part in settings.items()}
    say = print if rank == 0 else lambda _line: None
    encode_shards(**built, runtime=Runtime(Parallelism(), device), rank=rank, world=world, say=say)


if __name__ == "__main__":
    main(sys.argv[1:])
