"""Where the files of a model lie: bundled, made by a training run, or released.

A model is three networks' files: the autoencoder, the generator and the text embedding. Released ones are searched in
$SEEDVR2_WEIGHTS, then in the Hugging Face cache; what lies in neither can be fetched from the hub.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from seedvr2.errors import UserError
from seedvr2.models.weight_files import present
from seedvr2.restore.hub import cached, fetch
from seedvr2.restore.stages import finished_stages, trained_steps
from seedvr2.restore.table import ASSETS, ROLES, Entry, HubFile, read_table

TINY = "tiny"
BUNDLED = ASSETS / TINY
GENERATOR_FILE = "generator.safetensors"
OWN_FILES = ("vae.safetensors", GENERATOR_FILE, "prompts.safetensors")
FAITHFUL_FILE = "faithful.safetensors"  # beside a generator: the other end of `--fidelity`
ENDS = ("vivid", "faithful")  # stages of a run whose generators are the two ends
WEIGHTS_VARIABLE = "SEEDVR2_WEIGHTS"
CACHE = "the Hugging Face cache"
OWN_WINDOW = 17  # frames; what the tiny model is trained on
RELEASED_WINDOW = 33
BASE_STEPS = 8  # of a multi-step generator, as in the previews of its training


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, and how it is run unless told otherwise.

    origin: in words, where they were found. prompts: of a released model, the embedding of the positive prompt; ours
    holds the negative one as well. released: "3b" or "7b" for released weights, whose format differs from ours. steps:
    sampling steps that the generator is made for, None if it takes any number, and guidance; then `usual_steps` and
    `cfg` are its defaults. faithful: a second generator, and `fidelity` how far towards it the weights go, from 0 to 1.
    absent: those of the paths, by field, that have to be fetched before they exist.
    """

    name: str
    origin: str
    vae: Path
    generator: Path
    prompts: Path
    negative: Path | None = None
    faithful: Path | None = None
    fidelity: float = 0.0
    released: str | None = None
    steps: int | None = 1
    usual_steps: int = BASE_STEPS
    cfg: float = 1.0
    condition_noise: float = 0.0
    color_fix: str = "grey"
    window: int = OWN_WINDOW
    absent: Mapping[str, HubFile] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """All files."""
        paths = self.generator, self.vae, self.prompts, self.negative, self.faithful
        return [path for path in paths if path is not None]


def find_model(name: str | None, *, has_gpu: bool, models: Path | None = None) -> ModelFiles:
    """The files of a model by its name in the table, its folder or its file; None chooses released weights that are
    on this machine if there is a GPU, else tiny.

    models: a file that adds to the table. A folder is a model folder, a stage of a run, or a run, of which the last
    finished stage with a generator is taken; a file is that of a released generator. Nothing is fetched. Raises
    UserError if there is no such model.
    """
    table = read_table(models)
    if name is None:
        released = [entry for entry in table.values() if entry.files and not entry.multi_step] if has_gpu else []
        found = map(_released, released)
        return next((files for files in found if not files.absent), None) or _named(table[TINY])
    if name in table:
        return _named(table[name])
    if Path(name).is_file():
        return _beside(Path(name), table)
    if not Path(name).is_dir():
        known = ", ".join(table)
        raise UserError(f"there is no model {name}; give {known} or the folder of a model or training run")
    return _in_folder(name, Path(name))


def fetched(files: ModelFiles, *, say: Callable[[str], None], progress: bool = True) -> ModelFiles:
    """The same files when all of them exist: absent ones are fetched from the hub."""
    if not files.absent:
        return files
    paths = fetch(list(files.absent.values()), say=say, progress=progress)
    return replace(files, absent={}, **dict(zip(files.absent, paths, strict=True)))


def _named(entry: Entry) -> ModelFiles:
    if entry.folder is None:
        return _released(entry)
    if not entry.folder.is_dir():
        bundled = entry.folder.parent == ASSETS
        advice = "install the package again or give --model" if bundled else "correct the table of models"
        raise UserError(f"the {'bundled ' * bundled}model {entry.name} is missing from {entry.folder}; {advice}")
    files = _in_folder(entry.name, entry.folder)
    if entry.folder.parent == ASSETS:
        files = replace(files, origin="bundled")
    if entry.fidelity is not None and files.faithful is None:
        raise UserError(f"{entry.name} has a fidelity, but {entry.folder} holds no {FAITHFUL_FILE}; leave the key out")
    chosen = {"color_fix": entry.color_fix, "window": entry.window, "fidelity": entry.fidelity}
    return replace(files, **{key: value for key, value in chosen.items() if value is not None})


def _released(entry: Entry, beside: Path | None = None) -> ModelFiles:
    """The files of an entry, each from the first place that has it. beside: a folder to look into before all others."""
    roles = dict(zip(ROLES, ("generator", "vae", "prompts", "negative"), strict=True))
    paths, origins, absent = {}, {}, {}
    for role, key in roles.items():
        if role == "negative" and not entry.multi_step:
            continue
        file = entry.files[role]
        places = {f"${WEIGHTS_VARIABLE}": _in_weights_folder(file), CACHE: cached(file)}
        if beside is not None:
            places = {str(beside): _file_in(beside, file), **places}
        origin, path = next(((place, path) for place, path in places.items() if path is not None), (CACHE, None))
        origins[origin] = True
        paths[key] = path or Path(file.name)
        if path is None:
            absent[key] = file
    return ModelFiles(
        entry.name,
        f"from {' and '.join(origins)}",
        **paths,
        released=entry.family,
        steps=None if entry.multi_step else entry.steps,
        usual_steps=entry.steps,
        cfg=entry.cfg,
        condition_noise=entry.condition_noise,
        color_fix=entry.color_fix or "wavelet",
        window=entry.window or RELEASED_WINDOW,
        absent=absent,
    )


def _beside(path: Path, table: Mapping[str, Entry]) -> ModelFiles:
    """The model of a released generator's file, with the files that lie beside it."""
    known = {Path(entry.files["generator"].name).stem: entry for entry in table.values() if entry.files}
    if path.stem not in known:
        raise UserError(
            f"{path} has none of the names {', '.join(known)}, so what it is remains unknown; rename it, or name it in "
            "a table of models (--models)"
        )
    return replace(_released(known[path.stem], path.resolve().parent), generator=path.resolve())


def _in_folder(name: str, folder: Path) -> ModelFiles:
    """The generator of a model folder, a stage, or the last stage of a run that has one, and what belongs to it."""
    folder = folder.resolve()  # "." has no name and no parent
    places = [folder, folder / "final", *reversed(finished_stages(folder))]
    home = next((place for place in places if (place / GENERATOR_FILE).is_file()), None)
    if home is None:
        raise UserError(f"{folder} holds no finished model; it should contain {', '.join(OWN_FILES)}")
    files = {file: home / file for file in OWN_FILES if (home / file).is_file()}
    is_stage = home.name == "final"
    if is_stage and len(files) < len(OWN_FILES):
        # A stage exports what it trained, so the autoencoder usually lies in an earlier stage of the same run.
        stages = finished_stages(home.parents[1])
        for place in reversed(stages[: stages.index(home)]):
            files |= {file: place / file for file in OWN_FILES if file not in files and (place / file).is_file()}
    for file in OWN_FILES:
        if file not in files:
            raise UserError(f"there is no {file} for the generator in {home}; copy the one it was trained with there")
    stage = home.parent.name if is_stage else home.name
    origin = f"stage {stage}, {home}" if is_stage else f"from {home}"
    other = home.parents[1] / ENDS[1] / "final" / GENERATOR_FILE if stage == ENDS[0] else home / FAITHFUL_FILE
    faithful = other if other.is_file() else None
    return ModelFiles(name, origin, *(files[file] for file in OWN_FILES), faithful=faithful, steps=trained_steps(stage))


def _in_weights_folder(file: HubFile) -> Path | None:
    named = os.environ.get(WEIGHTS_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"${WEIGHTS_VARIABLE} is {named}, which is not a folder; correct or unset it")
    folders = (Path(named), Path(named) / file.repository.split("/")[1])
    return next((path for folder in folders if (path := _file_in(folder, file)) is not None), None)


def _file_in(folder: Path, file: HubFile) -> Path | None:
    path = present(folder / Path(file.name).name)
    return path if path.is_file() else None
