"""The user's cache folder, and small facts that are kept there from run to run."""

import contextlib
import json
import os
from pathlib import Path

from seedvr2.io.files import whole


def cache_folder() -> Path:
    """Where this package keeps what it can make again, by the convention of the desktop."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedvr2"


class Kept(dict[str, str]):
    """Texts by name that stay in a JSON file of the cache folder, together with those that other processes add.

    Where there is no such folder they last as long as the process.
    """

    def __init__(self, name: str) -> None:
        self.path = cache_folder() / name
        super().__init__(self._read())

    def __setitem__(self, name: str, text: str) -> None:
        self.update({**self._read(), name: text})
        with contextlib.suppress(OSError), whole(self.path, contended=True) as temporary:
            temporary.write_text(json.dumps(self, indent=1))

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
