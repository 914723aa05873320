"""`python -m tests.miniature_infer ...`: `seedvr2.infer` with released families of miniature size."""

import json
import sys
from pathlib import Path

from seedvr2 import infer
from seedvr2.models.released import RELEASED

SIZES = json.loads((Path(__file__).parent / "assets" / "dit_tiny_configs.json").read_text())
VAE = {"block_out_channels": [16] * 4, "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16}

if __name__ == "__main__":
    RELEASED.update({**SIZES, "vae": VAE})
    infer.main(sys.argv[1:])
