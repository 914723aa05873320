"""Where the files of a model are found, and in which order."""

import huggingface_hub
import pytest

from seedvr2.errors import UserError
from seedvr2.restore import search, table
from seedvr2.restore.search import OWN_FILES, WEIGHTS_VARIABLE, find_model

RELEASED = {size: ("ema_vae.pth", f"seedvr2_ema_{size}.pth", "pos_emb.pt") for size in ("3b", "7b")}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Nothing is installed; a Hugging Face cache as a table (repository, file) -> path."""
    cache = {}
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv(table.VARIABLE, raising=False)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, name, revision: cache.get((repository, name)) if revision == "main" else None,
    )
    for module in (table, search):
        monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    filled(tmp_path / "assets" / "tiny", OWN_FILES)
    return cache


def filled(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
    return folder


def test_without_released_weights_the_bundled_model_is_taken(tmp_path):
    for name, has_gpu in ((None, True), (None, False), ("tiny", True)):
        files = find_model(name, has_gpu=has_gpu)
        assert (files.name, files.origin, files.released, files.steps) == ("tiny", "bundled", None, 1)
        assert files.generator == tmp_path / "assets" / "tiny" / "generator.safetensors"


def test_released_weights_are_taken_on_a_gpu_only(tmp_path, monkeypatch):
    filled(tmp_path / "weights", RELEASED["3b"])
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    assert find_model(None, has_gpu=False).name == "tiny"
    files = find_model(None, has_gpu=True)
    assert (files.name, files.released, files.origin) == ("3b", "3b", "from $SEEDVR2_WEIGHTS")
    assert files.generator == tmp_path / "weights" / "seedvr2_ema_3b.pth"
    assert find_model("3b", has_gpu=False) == files


def test_unnamed_a_model_is_never_fetched_nor_a_multi_step_one_taken(tmp_path, monkeypatch):
    several = ("seedvr_ema_3b.pth", "ema_vae.pth", "pos_emb.pt", "neg_emb.pt")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(filled(tmp_path / "weights", several)))
    assert find_model("seedvr-3b", has_gpu=True).absent == {}
    assert find_model(None, has_gpu=True).name == "tiny"


def test_a_folder_of_repositories_serves_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    for size in ("3b", "7b"):
        folder = filled(tmp_path / f"SeedVR2-{size.upper()}", RELEASED[size])
        assert find_model(size, has_gpu=False).vae == folder / "ema_vae.pth"


def test_cached_weights_are_found(tmp_path, cache):
    folder = filled(tmp_path / "cache", RELEASED["7b"])
    cache |= {("ByteDance-Seed/SeedVR2-7B", name): str(folder / name) for name in RELEASED["7b"]}
    files = find_model(None, has_gpu=True)
    assert (files.name, files.origin, files.prompts) == ("7b", "from the Hugging Face cache", folder / "pos_emb.pt")
    assert files.absent == {}


def test_converted_files_stand_for_the_released_ones(tmp_path, monkeypatch, cache):
    names = [name.replace(".pth", ".safetensors").replace(".pt", ".safetensors") for name in RELEASED["3b"]]
    folder = filled(tmp_path / "weights", names)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    assert find_model("3b", has_gpu=False).paths == [folder / names[i] for i in (1, 0, 2)]
    filled(folder, RELEASED["3b"])
    assert find_model("3b", has_gpu=False).generator == folder / "seedvr2_ema_3b.pth"


def test_only_what_is_nowhere_has_to_be_fetched(tmp_path, monkeypatch, cache):
    folder = filled(tmp_path / "weights", ["seedvr_ema_7b.pth", "neg_emb.pt"])
    filled(tmp_path, ["pos_emb.pt"])
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    cache["ByteDance-Seed/SeedVR-7B", "pos_emb.pt"] = str(tmp_path / "pos_emb.pt")
    files = find_model("seedvr-7b", has_gpu=False)
    assert (files.generator, files.negative) == (folder / "seedvr_ema_7b.pth", folder / "neg_emb.pt")
    assert files.prompts == tmp_path / "pos_emb.pt"
    assert {key: file.name for key, file in files.absent.items()} == {"vae": "ema_vae.pth"}
    assert files.origin == "from $SEEDVR2_WEIGHTS and the Hugging Face cache"
    assert (files.steps, files.usual_steps, files.cfg, files.condition_noise) == (None, 50, 6.5, 0.1)
    cache["ByteDance-Seed/SeedVR-7B", "ema_vae.pth"] = "fetched"
    assert find_model("seedvr-7b", has_gpu=False).origin == files.origin  # a film that was begun goes on


def test_a_file_of_the_user_names_its_model_and_its_neighbours(tmp_path, monkeypatch):
    folder = filled(tmp_path / "ckpts", ["seedvr2_ema_7b_sharp.safetensors", "ema_vae.pth", "pos_emb.pt"])
    for name in (folder / "seedvr2_ema_7b_sharp.safetensors", folder / "mine.pth"):
        name.touch()
    files = find_model(str(folder / "seedvr2_ema_7b_sharp.safetensors"), has_gpu=False)
    assert (files.name, files.released, files.vae) == ("7b-sharp", "7b", folder / "ema_vae.pth")
    assert files.origin == f"from {folder}"
    with pytest.raises(UserError, match=r"mine\.pth has none of the names seedvr2_ema_3b, seedvr2_ema_7b"):
        find_model(str(folder / "mine.pth"), has_gpu=False)


def test_a_table_of_the_user_names_files_and_folders(tmp_path):
    filled(tmp_path / "runs" / "mine", OWN_FILES)
    (tmp_path / "own.yaml").write_text("mine: {folder: runs/mine, window: 9, color_fix: adain}\n")
    files = find_model("mine", has_gpu=False, models=tmp_path / "own.yaml")
    assert (files.name, files.window, files.color_fix) == ("mine", 9, "adain")
    assert files.origin == f"from {tmp_path / 'runs' / 'mine'}"
    (tmp_path / "own.yaml").write_text("mine: {folder: gone}\n")
    with pytest.raises(UserError, match=r"the model mine is missing from .*gone; correct the table"):
        find_model("mine", has_gpu=False, models=tmp_path / "own.yaml")


def test_a_weights_variable_that_is_no_folder_is_the_users_mistake(monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, "/no/such/folder")
    with pytest.raises(UserError, match="/no/such/folder"):
        find_model(None, has_gpu=True)


@pytest.fixture
def run(tmp_path):
    """A finished run whose files are as old as those of a copy: all the same."""
    run = tmp_path / "run"
    filled(run / "vae" / "final", ["vae.safetensors"])
    for stage in ("base", "distill_4to2", "distill_2to1"):
        filled(run / stage / "final", ["generator.safetensors", "prompts.safetensors"])
    filled(run / "apt" / "final", ["generator.safetensors", "discriminator.safetensors"])
    return run


@pytest.mark.parametrize(
    ("path", "stage", "prompts", "steps"),
    [
        (".", "apt", "distill_2to1", 1),
        ("apt", "apt", "distill_2to1", 1),
        ("distill_4to2", "distill_4to2", "distill_4to2", 2),
        ("base/final", "base", "base", None),
    ],
)
def test_folders_of_stages_and_runs(run, monkeypatch, path, stage, prompts, steps):
    monkeypatch.chdir(run)
    for name in (path, str(run / path)):
        files = find_model(name, has_gpu=False)
        assert (files.name, files.steps) == (name, steps)
        assert files.generator == run / stage / "final" / "generator.safetensors"
        assert files.prompts.parent == run / prompts / "final"
        assert files.vae.parent == run / "vae" / "final"
        assert f"stage {stage}, {run / stage}" in files.origin


def test_the_current_folder_can_be_a_model(run, monkeypatch):
    monkeypatch.chdir(run / "base" / "final")
    assert find_model(".", has_gpu=False).vae.parent == run / "vae" / "final"


def test_an_unfinished_stage_leaves_the_one_before(run):
    (run / "apt" / "final").rename(run / "apt" / ".final.part")
    assert "stage distill_2to1" in find_model(str(run), has_gpu=False).origin


def test_a_folder_of_three_files_is_a_model(tmp_path):
    model = filled(tmp_path / "model", OWN_FILES)
    files = find_model(str(model), has_gpu=True)
    assert (files.vae, files.origin, files.steps) == (model / "vae.safetensors", f"from {model}", 1)


def test_a_stage_never_borrows_from_a_later_one(run):
    filled(run / "apt" / "final", OWN_FILES)
    files = find_model(str(run / "base"), has_gpu=False)
    assert files.prompts.parent == run / "base" / "final"
    assert files.vae.parent == run / "vae" / "final"


def test_the_two_ends_of_a_recipe_are_found_in_a_folder_and_in_a_run(run, tmp_path):
    assert find_model(str(run), has_gpu=False).faithful is None
    for stage in ("faithful", "vivid"):
        filled(run / stage / "final", ["generator.safetensors"])
    (run / "config.yaml").write_text(
        "stages: " + str({name: {"name": name} for name in ("vae", "base", "distill", "apt", "faithful", "vivid")})
    )
    files = find_model(str(run), has_gpu=False)
    ends = [run / stage / "final" / "generator.safetensors" for stage in ("vivid", "faithful")]
    assert [files.generator, files.faithful] == ends
    assert find_model(str(run / "faithful"), has_gpu=False).faithful is None
    model = filled(tmp_path / "model", [*OWN_FILES, "faithful.safetensors"])
    files = find_model(str(model), has_gpu=False)
    assert (files.faithful, files.fidelity) == (model / "faithful.safetensors", 0)
    assert files.faithful in files.paths


def test_a_table_gives_the_usual_fidelity_of_a_model_with_two_ends(tmp_path):
    model = filled(tmp_path / "model", OWN_FILES)
    own = tmp_path / "own.yaml"
    own.write_text("mine: {folder: model, fidelity: 0.75}\n")
    with pytest.raises(UserError, match=r"mine has a fidelity, but .* holds no faithful\.safetensors"):
        find_model("mine", has_gpu=False, models=own)
    filled(model, ["faithful.safetensors"])
    assert find_model("mine", has_gpu=False, models=own).fidelity == 0.75


def test_folders_without_a_whole_model_are_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no finished model"):
        find_model(str(filled(tmp_path / "empty", [])), has_gpu=False)
    with pytest.raises(UserError, match=r"no vae\.safetensors"):
        find_model(str(filled(tmp_path / "half", ["generator.safetensors"])), has_gpu=False)


def test_unknown_names_are_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no model huge; give tiny, 3b, 7b, 7b-sharp, seedvr-3b, seedvr-7b or"):
        find_model("huge", has_gpu=False)
    (tmp_path / "assets").rename(tmp_path / "nowhere")
    with pytest.raises(UserError, match="bundled model tiny is missing"):
        find_model("tiny", has_gpu=False)
