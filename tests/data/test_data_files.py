"""Properties of reading training files: pictures are remembered as far as memory allows."""

import numpy as np

from seedvr2.data import files
from seedvr2.io.images import write_image


def test_remembered_pictures_have_a_bound_in_bytes(tmp_path, monkeypatch):
    pictures = [np.full((10, 10, 3), number, np.uint8) for number in range(5)]
    for number, picture in enumerate(pictures):
        write_image(tmp_path / f"{number}.png", picture)
    monkeypatch.setattr(files, "KEPT", 650)
    monkeypatch.setattr(files, "_pictures", type(files._pictures)())
    for number in (0, 1, 2, 1, 3, 4):
        assert np.array_equal(files.picture_of(tmp_path / f"{number}.png"), pictures[number])
        assert sum(kept.nbytes for kept in files._pictures.values()) <= 650
    assert [path.name for path in files._pictures] == ["3.png", "4.png"]
    monkeypatch.setattr(files, "KEPT", 100)
    assert np.array_equal(files.picture_of(tmp_path / "0.png"), pictures[0])
