"""The user's cache folder, and small facts that are kept there from run to run."""

import contextlib
import json
import os
from pathlib import Path

from seedvr2.io.files import held, whole


def cache_folder() -> Path:
    """Where this package keeps what it can make again, by the convention of the desktop."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedvr2"


class Kept(dict[str, str]):
    """Texts by name, of which those that `setdefault` adds stay in a JSON file of the cache folder.

    Of several processes the first decides about a name. Without such a folder texts last as long as the process.
    """

    def __init__(self, name: str) -> None:
        self.path = cache_folder() / name
        super().__init__(self._read())

    def setdefault(self, name: str, text: str) -> str:
        """The text of a name: the one that is here, else the one in the file, else this one, which is written."""
        if name not in self:
            with contextlib.suppress(OSError), held(self.path.with_name(f".{self.path.name}.lock")):
                known = self._read()
                if name not in known:
                    with whole(self.path, contended=True) as temporary:
                        temporary.write_text(json.dumps({**known, name: text}, indent=1))
                text = known.get(name, text)
            self[name] = text
        return self[name]

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
