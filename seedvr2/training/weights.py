"""Weight files: one plain safetensors file per network, with released names and the recipe to build the network
again.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from seedvr2 import config
from seedvr2.errors import UserError
from seedvr2.models.prompts import Prompts
from seedvr2.models.released import load_released, read_state_dict, to_released
from seedvr2.objectives.objective import Exported
from seedvr2.training.files import whole

_KEY = "seedvr2"  # one metadata entry: the order of several is not reproducible


def export(networks: Mapping[str, Exported], folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write `<name>.safetensors` for each network into a new folder; the folder appears when all files are whole."""
    with whole(folder) as temporary:
        temporary.mkdir()
        for name, exported in networks.items():
            save_network(exported, temporary / f"{name}.safetensors", dtype=dtype)


def save_network(exported: Exported, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write one network. RoPE frequencies stay in fp32 whatever the type."""
    tensors = {
        key: value.detach().cpu().to(torch.float32 if key.endswith("rope.freqs") else dtype).contiguous()
        for key, value in to_released(exported.network).items()
    }
    metadata = {"recipe": exported.recipe.config, **exported.facts}
    save_file(tensors, path, metadata={_KEY: json.dumps(metadata, sort_keys=True)})


def read_metadata(path: Path) -> dict:
    """Recipe and facts of a file written by `export`. Raises UserError for other files."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(_KEY)
    except SafetensorError as error:
        raise UserError(
            f"weights file {str(path)!r} is damaged or no safetensors file ({error}): export it again"
        ) from error
    if found is None:
        raise UserError(f"weights file {str(path)!r} carries no seedvr2 recipe: use a file exported by seedvr2.train")
    return json.loads(found)


def load_network(path: Path) -> nn.Module:
    """Build the network that a file of `export` holds, with its weights, in fp32 on the CPU.

    The recipe in the file may name parts of `seedvr2.models` only: files come from the internet. Raises UserError
    otherwise.
    """
    recipe = config.build(read_metadata(path)["recipe"], str(path), allowed=("seedvr2.models.",))
    with torch.device("meta"):
        network = recipe()
    load_released(network, {key: value.float() for key, value in read_state_dict(path).items()})
    return network.eval()


def read_prompts(*, positive: str, negative: str) -> Prompts:
    """The released prompt embeddings `pos_emb.pt` and `neg_emb.pt` (n, 5120); the null prompt is zero."""
    tables = {}
    for kind, path in {"positive": positive, "negative": negative}.items():
        if not Path(path).is_file():
            raise UserError(f"prompt embedding {path!r} does not exist: it comes with the released weights")
        tables[kind] = torch.load(path, map_location="cpu", weights_only=True).float()
    tables["null"] = torch.zeros_like(tables["positive"])
    tokens, dim = tables["positive"].shape
    prompts = Prompts(tokens=tokens, dim=dim, negative_tokens=len(tables["negative"]))
    prompts.load_state_dict(tables)
    return prompts


class Catalogue:
    """Which file holds the newest weights of a network, and those of each stage.

    initial: None, a weights file of a generator, a folder of `<network>.safetensors` files, or a mapping network ->
    file.
    """

    def __init__(self, initial: str | Path | Mapping[str, str] | None = None):
        self.files: dict[str, Path] = {}
        if isinstance(initial, Mapping):
            self._add("initial", {name: Path(path) for name, path in initial.items() if path is not None})
        elif initial is not None and Path(initial).is_dir():
            self.add_stage("initial", next(p for p in (Path(initial, "final"), Path(initial)) if p.is_dir()))
        elif initial is not None:
            self._add("initial", {"generator": Path(initial)})
        if absent := [str(path) for path in self.files.values() if not path.is_file()]:
            raise UserError(f"run.weights names {absent[0]!r}, which does not exist: check the path")

    def add_stage(self, stage: str, folder: Path) -> None:
        """Take in all networks that a stage exported."""
        files = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if not files:
            raise UserError(f"folder {str(folder)!r} holds no *.safetensors files: give a stage's `final` folder")
        self._add(stage, files)

    def _add(self, stage: str, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            self.files[name] = self.files[f"{stage}/{name}"] = path

    def find(self, *names: str) -> Path | None:
        """First file among names like `generator` (the newest) or `base/generator` (of one stage); None if there is
        none.
        """
        return next((self.files[name] for name in names if name in self.files), None)

    def require(self, *names: str, purpose: str) -> Path:
        """The same, but raise UserError saying where weights can come from."""
        if (found := self.find(*names)) is None:
            raise UserError(
                f"{purpose}, but there are no weights {' or '.join(map(repr, names))}: run a base stage before, or set run.weights "
                "to a base export of this project or to a released multi-step SeedVR file (seedvr_ema_3b.pth, seedvr_ema_7b.pth)"
            )
        return found
