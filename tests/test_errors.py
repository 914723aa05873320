"""Properties of how commands end: a mistake of the user is one sentence and exit code 2, a bug keeps its traceback."""

import pytest

from seedvr2 import eval as evaluation
from seedvr2 import infer, train
from seedvr2.errors import main_guard

LONG = "a" * 300  # no file system takes it as one name


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (infer.main, ["--input", LONG]),
        (infer.main, ["--input", "a.png", "--model", LONG]),
        (evaluation.main, ["--bench", "folder", "--gt", LONG, "--model", "tiny"]),
        (evaluation.main, ["--bench", "folder", "--gt", ".", "--pred", f"x={LONG}"]),
        (train.main, ["+experiment=debug", f"run.dir={LONG}"]),
    ],
)
def test_paths_longer_than_any_file_has_are_refused_in_one_sentence(main, arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert LONG in told[0]


def test_other_trouble_with_files_stays_a_bug():
    with pytest.raises(PermissionError), main_guard("x"):
        raise PermissionError(13, "Permission denied", "file")
