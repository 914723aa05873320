"""Where shots begin, if people say it: a list on the command line, or a file of them."""

import os
from collections.abc import Sequence
from pathlib import Path

from seedvr2.errors import UserError


def read_cuts(text: str | None, no_shots: bool) -> Sequence[int] | None:
    """Frames (from 0) that begin shots: of `120,250`, of a file of such numbers, none without shots; None: find them.

    Raises UserError for what is no such list, and for a list together with `no_shots`.
    """
    if no_shots:
        if text is not None:
            raise UserError(f"--cuts {text} and --no-shots exclude each other; give one of them")
        return []
    if text is None:
        return None
    try:
        listed = Path(text).read_text() if os.path.isfile(text) else text
        cuts = sorted({int(part) for part in listed.replace(",", " ").split()})
    except ValueError:
        raise UserError(f"--cuts {text} is no list of frame numbers; write 120,250 or give a file of such") from None
    if cuts and cuts[0] < 0:
        raise UserError(f"--cuts {text} has the frame {cuts[0]}; frames count from 0")
    return [cut for cut in cuts if cut]
