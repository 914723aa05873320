"""Reading files of tensors: whoever wrote them, damaged, misnamed, or with code inside."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from seedvr2.errors import UserError
from seedvr2.models.weight_files import present, read_embedding, read_state_dict, read_tensors

TABLE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


class Payload:
    """Runs a command when it is unpickled without care."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        lambda x, path: torch.save(x, path, _use_new_zipfile_serialization=False),
        lambda x, path: path.write_bytes(pickle.dumps(x, protocol=2)),
        lambda x, path: path.write_bytes(pickle.dumps(x, protocol=0)),
    ],
)
def test_code_in_a_file_is_named_and_not_run(tmp_path, save):
    victim = tmp_path / "victim"
    pickle.loads(pickle.dumps(Payload(victim)))  # it does work
    assert victim.exists()
    victim.unlink()
    save({"weight": Payload(victim)}, tmp_path / "bad.pth")
    for read in (read_state_dict, read_embedding, read_tensors):
        told = r"bad\.pth' (holds code besides tensors \(posix\.system\)|is no file of plain tensors) and was not read"
        with pytest.raises(UserError, match=told):
            read(tmp_path / "bad.pth")
    assert not victim.exists()


def same(found, wanted=TABLE):
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in wanted.items()
    )


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_the_content_decides_the_format_not_the_name(tmp_path, name):
    torch.save(TABLE, tmp_path / "w.pt")
    torch.save(TABLE, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    save_file(TABLE, tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / name))
    save_file(TABLE, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"))


@pytest.mark.parametrize("wrap", [(), ("ema",), ("state_dict",), ("model", "state_dict"), ("ema", "module")])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod."])
def test_wrappers_and_prefixes_of_training_code_are_taken_off(tmp_path, wrap, prefix):
    found = {f"{prefix}{name}": value for name, value in TABLE.items()}
    for name in reversed(wrap):
        found = {name: found, "step": 7}
    torch.save(found, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"))


def test_the_averaged_weights_are_taken_before_the_others(tmp_path):
    other = {name: value + 1 for name, value in TABLE.items()}
    torch.save({"model": other, "ema": TABLE, "optimizer": {"state": {0: torch.ones(1)}}}, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"))


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    mixed = {"model.weight": torch.ones(1), "bias": torch.ones(1)}
    torch.save(mixed, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"), mixed)


def test_what_is_no_table_of_tensors_is_named(tmp_path):
    endless = {}
    endless["model"] = endless
    for number, found in enumerate(([1, 2], {"weight": 3}, {"model": 3}, {0: torch.ones(1)}, torch.ones(1), endless)):
        torch.save(found, tmp_path / f"{number}.pth")
        with pytest.raises(UserError, match=rf"{number}\.pth' is not a table of tensors by name"):
            read_state_dict(tmp_path / f"{number}.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_that_is_cut_off_gives_one_short_sentence(tmp_path, suffix, share):
    table, path = {f"layer{i}.weight": torch.ones(100) for i in range(300)}, tmp_path / f"w.{suffix}"
    (torch.save if suffix == "pth" else save_file)(table, path)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(UserError, match=rf"w\.{suffix}' cannot be read, it is cut off or damaged") as caught:
        read_state_dict(path)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_files_that_are_something_else_are_named(tmp_path):
    for content, told in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"anything else" * 20, "no file of plain tensors"),
    ):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match=told):
            read_state_dict(tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not exist"):
        read_state_dict(tmp_path / "absent.pth")


def test_an_embedding_is_the_only_table_of_a_file(tmp_path):
    wanted = torch.randn(5, 8).bfloat16()
    torch.save(wanted, tmp_path / "pos_emb.pt")
    save_file({"embedding": wanted}, tmp_path / "pos_emb.safetensors")
    for name in ("pos_emb.pt", "pos_emb.safetensors"):
        assert torch.equal(read_embedding(tmp_path / name), wanted)
    for found, told in (
        (torch.ones(3), "not one table"),
        (torch.ones(3, 4, dtype=torch.int64), "not one table"),
        (TABLE, "not one table"),
        (torch.full((3, 4), torch.nan), "not finite"),
    ):
        torch.save(found, tmp_path / "pos_emb.pt")
        with pytest.raises(UserError, match=rf"pos_emb\.pt'.*{told}"):
            read_embedding(tmp_path / "pos_emb.pt")


def test_a_safetensors_file_stands_for_an_absent_pth(tmp_path):
    path = tmp_path / "ema_vae.pth"
    assert present(path) == path
    path.with_suffix(".safetensors").touch()
    assert present(path) == path.with_suffix(".safetensors")
    path.touch()
    assert present(path) == path
