"""Which file holds the weights of a network: what a run starts from, and what each of its stages exported."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seedvr2.errors import UserError
from seedvr2.models.weight_files import present
from seedvr2.training.weights import POSITIVE, latent_scale

NETWORKS = ("generator", "teacher", "discriminator", "prompts", "vae")
RELEASED_VAE = "ema_vae.pth"


def exported(folder: Path) -> list[Path]:
    """The files of networks in a folder."""
    return sorted(folder.glob("*.safetensors"))


class Catalogue:
    """Files by network name, the newest and those of each stage.

    initial: None; a generator's file, whose folder may also hold the released `ema_vae.pth` and `pos_emb.pt`; a stage's
    folder of `<network>.safetensors` files; or a mapping network -> file. Raises UserError for what does not exist.
    """

    def __init__(self, initial: str | Path | Mapping[str, str] | None = None):
        self.files: dict[str, Path] = {}
        if isinstance(initial, Mapping):
            if unknown := set(initial) - set(NETWORKS):
                raise UserError(f"run.weights names the network {unknown.pop()!r}: use {', '.join(NETWORKS)}")
            self._add("initial", {name: Path(path) for name, path in initial.items() if path is not None})
        elif initial is not None and Path(initial).is_dir():
            self.add_stage("initial", next(p for p in (Path(initial, "final"), Path(initial)) if p.is_dir()))
        elif initial is not None:
            beside = {"vae": RELEASED_VAE, "prompts": POSITIVE}
            beside = {name: present(Path(initial).with_name(file)) for name, file in beside.items()}
            found = {name: path for name, path in beside.items() if path.is_file()}
            self._add("initial", {"generator": Path(initial), **found})
        if absent := [str(path) for path in self.files.values() if not path.is_file()]:
            raise UserError(f"run.weights names {absent[0]!r}, which does not exist: check the path")

    def add_stage(self, stage: str, folder: Path, files: Sequence[Path] | None = None) -> None:
        """Take in all networks that a stage exported; files: what its folder holds, if that is known."""
        if files is None:
            files = exported(folder)
        if not files:
            raise UserError(f"folder {str(folder)!r} holds no *.safetensors files: give a stage's `final` folder")
        self._add(stage, {path.stem: path for path in files})

    def _add(self, stage: str, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            self.files[name] = self.files[f"{stage}/{name}"] = path

    def latent_scale(self, path: Path) -> float:
        """Factor that a VAE's file gives its latents."""
        return latent_scale(path)

    def find(self, *names: str) -> Path | None:
        """First file among names like `generator` (the newest) or `base/generator` (of one stage), or None."""
        return next((self.files[name] for name in names if name in self.files), None)

    def require(self, *names: str, purpose: str) -> Path:
        """The same, but raise UserError saying where weights can come from."""
        if (found := self.find(*names)) is None:
            raise UserError(
                f"{purpose}, but there are no weights {' or '.join(map(repr, names))}: run a base stage before, or set "
                "run.weights to a base export of this project or to a released multi-step SeedVR file "
                f"(seedvr_ema_3b.pth or seedvr_ema_7b.pth, with {RELEASED_VAE} and {POSITIVE} beside it), or name "
                f"a file for each network: run.weights={{{', '.join(f'{name}: FILE' for name in NETWORKS)}}}"
            )
        return found
