"""`python -m seedvr2.convert`: there and back without a changed bit."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from seedvr2 import convert
from seedvr2.models.weight_files import read_embedding, read_state_dict


def run(*arguments):
    convert.main([str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    return told


@pytest.fixture
def table():
    """Every type, odd values, memory that is shared, transposed or part of a larger one."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(8, 6, generator=generator)
    return {
        "fp32": base,
        "shared": base,
        "part": base[2:4],
        "transposed": base.T,
        "bf16": base.bfloat16(),
        "fp16": base.half(),
        "fp8": base.to(torch.float8_e4m3fn),
        "int": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "odd": torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-42]),
        "blocks.0.attn.rope.rope.freqs": torch.linspace(1, 128, 7),
    }


def bits(table):
    return {
        name: (value.dtype, tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, value in table.items()
    }


def test_there_and_back_no_bit_changes(table, tmp_path, capsys):
    torch.save(table, tmp_path / "in.pth")
    run(tmp_path / "in.pth", tmp_path / "middle.safetensors")
    told = capsys.readouterr().out
    assert "13 tensors" in told
    run(tmp_path / "middle.safetensors", tmp_path / "out.pth")
    again = capsys.readouterr().out
    assert bits(read_state_dict(tmp_path / "middle.safetensors")) == bits(table)
    assert bits(torch.load(tmp_path / "out.pth", weights_only=True)) == bits(table)
    hashes = [line for text in (told, again) for line in text.splitlines() if "of the tensors" in line]
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_an_embedding_without_a_name_comes_back_without_one(tmp_path):
    wanted = torch.randn(5, 8).bfloat16()
    torch.save(wanted, tmp_path / "pos_emb.pt")
    run(tmp_path / "pos_emb.pt", tmp_path / "pos_emb.safetensors")
    assert torch.equal(read_embedding(tmp_path / "pos_emb.safetensors"), wanted)
    run(tmp_path / "pos_emb.safetensors", tmp_path / "back.pt")
    assert torch.equal(torch.load(tmp_path / "back.pt", weights_only=True), wanted)


def test_metadata_stays_where_there_is_a_place_for_it(tmp_path, capsys):
    save_file({"a": torch.ones(2)}, tmp_path / "in.safetensors", metadata={"seedvr2": "{}"})
    run(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == {"seedvr2": "{}"}
    assert "left out" not in capsys.readouterr().out
    run(tmp_path / "in.safetensors", tmp_path / "out.pth")
    assert "left out, because .pth has no place for it: metadata seedvr2" in capsys.readouterr().out


def test_half_precision_rounds_all_but_frequencies_and_integers(table, tmp_path):
    table = {name: value for name, value in table.items() if name != "fp8"}
    torch.save(table, tmp_path / "in.pth")
    run(tmp_path / "in.pth", tmp_path / "out.safetensors", "--dtype", "bf16")
    found = read_state_dict(tmp_path / "out.safetensors")
    assert torch.equal(found["fp32"], table["fp32"].bfloat16())
    kept = {"blocks.0.attn.rope.rope.freqs": torch.float32, "int": torch.int64, "bool": torch.bool}
    assert {name: value.dtype for name, value in found.items() if value.dtype != torch.bfloat16} == kept


def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path, capsys):
    torch.save({"a": torch.full((2,), 1e6)}, tmp_path / "in.pth")
    (tmp_path / "there.safetensors").write_text("mine")
    (tmp_path / "bad.pth").write_bytes(b"bad")
    before = sorted(os.listdir(tmp_path))
    for arguments, told in (
        (("in.pth", "there.safetensors"), "exists already; choose another name or use --overwrite"),
        (("in.pth", "in.pth", "--overwrite"), "is the input itself"),
        (("in.pth", "out.bin"), "does not end in one of .safetensors"),
        (("in.pth", "nowhere/out.pth"), "nowhere does not exist"),
        (("absent.pth", "out.safetensors"), "absent.pth' does not exist"),
        (("bad.pth", "out.safetensors"), "bad.pth' is no file of plain tensors"),
        (("in.pth", "out.safetensors", "--dtype", "fp16"), "a has values beyond the range of torch.float16"),
    ):
        paths = [tmp_path / argument if "." in argument else argument for argument in arguments]
        assert told in refusal(capsys, *paths)
        assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.safetensors").read_text() == "mine"
    run(tmp_path / "in.pth", tmp_path / "there.safetensors", "--overwrite")
    assert read_state_dict(tmp_path / "there.safetensors")["a"].tolist() == [1e6, 1e6]


def test_a_failure_while_writing_leaves_nothing(tmp_path, capsys, monkeypatch):
    def full(*arguments, **settings):
        raise RuntimeError("[enforce fail] no space left")

    torch.save({"a": torch.ones(2)}, tmp_path / "in.pth")
    monkeypatch.setattr(torch, "save", full)
    assert "out.pt cannot be written" in refusal(capsys, tmp_path / "in.pth", tmp_path / "out.pt")
    assert os.listdir(tmp_path) == ["in.pth"]


def test_it_is_a_command(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "in.pth")
    command = [sys.executable, "-m", "seedvr2.convert", tmp_path / "in.pth", tmp_path / "out.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 tensors, 2 numbers, float32" in done.stdout
