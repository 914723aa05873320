"""The command as all ranks run it in tests/parallel/test_split_restoration.py."""

import contextlib
import io

from seedvr2 import infer


def command(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `infer`, run by all ranks."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            infer.main(arguments)
        except SystemExit as exit_:
            code = exit_.code
    return code, out.getvalue(), err.getvalue()
