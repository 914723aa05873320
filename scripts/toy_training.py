"""Small trainings that the studies in this folder share: sizes, latent cache, held-out clips, runs that are done once.

Everything lies below one folder and is made when it is first needed, so that a study that was killed goes on with the
same command.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from seedvr2 import config
from seedvr2.data.batch import Batch
from seedvr2.data.listing import list_folder
from seedvr2.data.pairs import Pairs
from seedvr2.data.procedural import ProceduralClips
from seedvr2.errors import UserError
from seedvr2.evaluation.footage import read_clip
from seedvr2.flow.condition import pack, unpack
from seedvr2.flow.sampler import euler
from seedvr2.flow.timesteps import trailing
from seedvr2.io.files import whole, write_json
from seedvr2.io.images import write_image
from seedvr2.models.codec import LatentCodec
from seedvr2.objectives.restoration import packed_field, plain_condition
from seedvr2.randomness import Draws, Key, numpy_generator
from seedvr2.restore.stages import finished_stages
from seedvr2.training.catalogue import Catalogue
from seedvr2.training.weights import latent_scale, load_network

ROOT = Path(__file__).resolve().parents[1]
VAE = ROOT / "seedvr2" / "assets" / "tiny" / "vae.safetensors"
HELD_OUT = 1_000_000  # number of the first procedural scene that no training sees
FRAMES = 9  # of a held-out video


class Size(NamedTuple):
    """A size of the studies. shapes: (frames, side, share, batch) of training clips. samples: in the cache, per
    shape.
    """

    networks: Sequence[str]
    shapes: Sequence[tuple[int, int, float, int]]
    samples: int
    base: int  # updates of the multi-step base
    side: int  # pixels of held-out clips
    rates: Mapping[str, float]  # learning rate per kind of stage


NETWORKS = ("model=tiny", "vae=tiny", "prompts=learned", "parallel=single", "run.precision=fp32", "run.threads=1")
TOY = ("layers=3", "separate_layers=0", "mlp.expand=2", "window.area=64")
SIZES = {
    "toy": Size(
        networks=(*NETWORKS, *(f"model.trunk.{value}" for value in TOY)),
        shapes=((1, 64, 0.6, 16), (5, 64, 0.4, 8)),
        samples=640,
        base=2000,
        side=128,
        rates={"base": 1e-3, "distill": 3e-4, "apt": 1e-4},
    ),
    "tiny": Size(
        networks=NETWORKS,
        shapes=((1, 128, 0.7, 16), (9, 96, 0.3, 8)),
        samples=4000,
        base=6000,
        side=256,
        rates={"base": 1e-3, "distill": 3e-4, "apt": 5e-5},
    ),
}


@dataclass(frozen=True)
class Study:
    """Where a study lies, and what all its trainings have in common.

    data, val: folders of images and videos to train on and to hold out, None for procedural clips.
    """

    out: Path
    size: Size
    data: Path | None = None
    val: Path | None = None
    vae: Path = VAE

    def __post_init__(self):
        facts = {name: str(getattr(self, name)) for name in ("size", "data", "val", "vae")}
        remember(self.out / "study.json", facts)

    def overrides(self) -> list[str]:
        """Networks and data, as changes of the configuration of a training."""
        keys = "_target_: seedvr2.data.shapes.Shape, "
        shapes = [
            f"{{{keys}frames: {frames}, height: {side}, width: {side}, share: {share}, batch: {batch}}}"
            for frames, side, share, batch in self.size.shapes
        ]
        source = ["data=procedural"]
        if self.data is not None:
            source = ["data=folder", f"data.root={self.data}", "+data.source.images_for_stills=true"]
            source.append("+data.source.image_share=0.4")
        return [*source, f"data.shapes=[{','.join(shapes)}]", "degradation=uav"]

    def cache(self) -> Path:
        """The latents of all training clips."""
        folder = self.out / "cache"
        settings = [*self.overrides(), f"weights={self.vae}", f"output={folder}", f"samples={self.size.samples}"]
        settings += ["per_shard=32", "threads=1", "workers=0"]
        vae = [value for value in self.size.networks if value.startswith("vae=")]
        if not (folder / "done").is_file():
            command("seedvr2.precompute", [*vae, *settings], self.out / "cache.log")
            (folder / "done").touch()
        return folder

    def train(self, folder: Path, seed: int, weights: Mapping[str, Path], settings: Sequence[str]) -> Path:
        """Run the stages of `settings` in a folder, unless it has done so already; returns the folder."""
        if not (folder / "done").is_file():
            given = ", ".join(f"{name}: {path}" for name, path in {"vae": self.vae, **weights}.items())
            shared = [f"run.dir={folder}", f"run.seed={seed}", f"run.weights={{{given}}}", "track.every=1"]
            shared += [*self.size.networks, *self.overrides()]
            command("seedvr2.train", [*settings, *shared], folder.with_name(f"{folder.name}.log"))
            (folder / "done").touch()
        return folder

    def stage(self, name: str, *changes: str) -> list[str]:
        """Changes of the configuration of one stage: fed from the cache, which is made, without previews."""
        always = [f"feed.cache={self.cache()}", "preview_every=0", "save_every=100"]
        return [
            f"stages.{name}.{change}" for change in (*always, f"objective.optim.lr={self.size.rates[name]}", *changes)
        ]

    def base(self, seed: int, *extra: str, name: str = "base") -> Path:
        """`final` folder of the multi-step base of a seed, trained once."""
        cosine = ["schedule._target_=seedvr2.optim.schedule.cosine", "schedule.warmup=50", "ema=0.99"]
        settings = self.stage("base", f"iterations={self.size.base}", *(f"objective.{change}" for change in cosine))
        settings += ["+stages.base.objective.schedule.final=0.05", "+stages.base.objective.start=copy"]
        settings += ["+stages.base.objective.weighed_by=${vae}", *extra]
        run = self.train(self.out / f"seed{seed}" / name, seed, {}, ["+stage@stages.base=base", *settings])
        return run / "base" / "final"

    def held_out(self) -> Path:
        """Folder of held-out clips, stills and videos: centres of the files of `val`, or procedural scenes."""
        folder = self.out / "val"
        if not folder.is_dir():
            with whole(folder) as temporary:
                temporary.mkdir()
                for name, frames in self._real() if self.val else _procedural(self.size.side):
                    write_frames(temporary / name, frames)
        return folder

    def _real(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        listing = list_folder(self.val)
        for path in (*listing.images, *listing.clips):
            frames = [middle(frame, self.size.side) for frame in islice(read_clip(path), FRAMES)]
            yield path.stem, frames


def _procedural(side: int, stills: int = 12, videos: int = 4) -> Iterator[tuple[str, list[np.ndarray]]]:
    for number in range(stills + videos):
        scene = ProceduralClips(count=1, first=HELD_OUT + number)
        clip = scene.clip(numpy_generator("held out", number), 1 if number < stills else FRAMES, side, side)
        yield f"scene{number:02}", list((clip * 255).round().astype(np.uint8))


def middle(frame: np.ndarray, side: int) -> np.ndarray:
    """The centre of a frame (H, W, 3), at most `side` pixels on each side, which is a multiple of 16 pixels."""
    height, width = (min(side, length // 16 * 16) for length in frame.shape[:2])
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return np.ascontiguousarray(frame[top : top + height, left : left + width])


def write_frames(path: Path, frames: Sequence[np.ndarray]) -> None:
    """A still as `path`.png, a video as a folder of frames."""
    if len(frames) == 1:
        write_image(path.with_name(f"{path.name}.png"), frames[0])
        return
    path.mkdir()
    for number, frame in enumerate(frames):
        write_image(path / f"{number:04}.png", frame)


def command(module: str, arguments: Sequence[str], log: Path) -> None:
    """Run a command of the package with its output in a file. Raises UserError with its last words if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{module}: {log}", flush=True)
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=file, stderr=file, check=False)
    if done.returncode:
        raise UserError(f"{module} ended with exit code {done.returncode}: {log.read_text().strip().splitlines()[-1]}")


def remember(path: Path, facts: Mapping[str, object]) -> None:
    """Write the facts that results depend on, once. Raises UserError if a folder was made with others."""
    if path.is_file() and (kept := json.loads(path.read_text())) != facts:
        wrong = next(name for name in facts if kept.get(name) != facts[name])
        raise UserError(f"{path.parent} was made with another {wrong} ({kept.get(wrong)}): use another folder")
    write_json(path, facts)


def model_folder(path: Path, generator: Path, vae: Path) -> Path:
    """A folder that `--model` takes: links to a stage's generator and prompts, and to the VAE."""
    path.mkdir(parents=True, exist_ok=True)
    for source in (generator / "generator.safetensors", generator / "prompts.safetensors", vae):
        name = "vae.safetensors" if source == vae else source.name
        if not (path / name).exists():
            (path / name).symlink_to(source.resolve())
    return path


def records(run: Path, stage: str) -> list[dict[str, float]]:
    """What a stage recorded, by step, without the stage's name."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k.removeprefix(f"{stage}/"): v for k, v in line.items()} for line in lines if line["stage"] == stage]


def average(rows: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Mean of a value over the records that have it."""
    found = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(found)) if found else None


def held_out_pairs(run: Path, val: Path | None, side: int | None = None) -> Pairs:
    """Clips that a run did not see, degraded as its own: of the folder `val`, or procedural scenes. side: stills of
    this many pixels instead of the run's shapes. Raises UserError for a run on files, without `val`.
    """
    node = config_of(run)["data"]
    if val is not None and "root" in node:
        node["root"] = str(val)
    elif node.get("source", {}).get("_target_", "").endswith("ProceduralClips"):
        node["source"] = {**node["source"], "first": HELD_OUT}
    else:
        raise UserError(f"{run} was trained on files: it needs data=folder and another folder as --val")
    if side is not None:
        node["shapes"] = [{"_target_": "seedvr2.data.shapes.Shape", "frames": 1, "height": side, "width": side}]
    return config.build(node, "data")()


def config_of(run: Path) -> dict[str, Any]:
    """The configuration of a run."""
    return yaml.safe_load((run / "config.yaml").read_text())


def weights_of(run: Path) -> Catalogue:
    """The files that a run started from, and those of its finished stages."""
    catalogue = Catalogue(config_of(run)["run"]["weights"])
    for final in finished_stages(run):
        catalogue.add_stage(final.parent.name, final)
    return catalogue


def codec_of(run: Path) -> LatentCodec:
    """The codec of a run."""
    path = weights_of(run).require("vae", purpose="latents need a VAE")
    return LatentCodec(load_network(path), latent_scale(path), chunk=2)


def held_out_keys(count: int) -> list[Key]:
    """Keys of held-out samples."""
    return [(0, "held out", number) for number in range(count)]


@torch.no_grad()
def held_out_latents(run: Path, val: Path | None, count: int) -> Batch:
    """Latents of held-out clips in the first shape of a run."""
    pairs, codec = held_out_pairs(run, val), codec_of(run)
    clips = [pairs.draw(key, pairs.shapes[0]) for key in held_out_keys(count)]
    hq, lq = ([codec.encode(frames).float() for frames in side] for side in zip(*clips, strict=True))
    return Batch(hq, lq, [Draws(*key) for key in held_out_keys(count)])


@torch.no_grad()
def sampled(generator: torch.nn.Module, prompts: torch.nn.Module, batch: Batch, steps: int, guidance: float = 1.0):
    """Latents (t, h, w, 16) that a generator makes of a batch in a number of steps, always with the same noise."""
    conditions = [plain_condition(batch, prompts(kind)) for kind in ("positive", "negative")]
    field = packed_field(generator, *conditions, guidance)
    return unpack(euler(field, pack(batch.normal("noise")), trailing(steps)), batch.sizes)
