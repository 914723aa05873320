"""Ranks act alike although a shared folder does not look the same from all of them, as with NFS."""

import shutil

from tests.parallel.shared_folder import fit, fit_where_names_are_missing


def test_ranks_go_on_from_the_checkpoint_that_the_main_one_sees(ranks, tmp_path):
    folder = tmp_path / "run"
    ranks(2)(fit, str(folder), [4])
    shutil.rmtree(folder / "stage0/final")
    assert ranks(2)(fit_where_names_are_missing, str(folder), [6], ["00000004"]) == [[4, 5]] * 2


def test_ranks_start_from_the_weights_that_the_main_one_sees(ranks, tmp_path):
    ranks(2)(fit, str(tmp_path / "run"), [2])
    missing = ["generator.safetensors"]
    assert ranks(2)(fit_where_names_are_missing, str(tmp_path / "run"), [2, 2], missing) == [[0, 1]] * 2
