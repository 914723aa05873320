"""Checkpoints of an unfinished stage: everything named in `stateful`, and the step."""

from collections.abc import Mapping
from pathlib import Path

import torch

from seedvr2.training.files import remove, whole


class Checkpointer:
    """Folder `<stage>/checkpoints/<step>/`; a folder that exists is whole. keep: how many newest ones stay."""

    def __init__(self, folder: Path, stateful: Mapping[str, object], *, keep: int = 2):
        self.folder, self.stateful, self.keep = folder, stateful, keep

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, rising."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit() and path.is_dir())

    def save(self, step: int) -> None:
        """Write a checkpoint after `step` steps, then drop the oldest."""
        with whole(self.folder / f"{step:08d}") as temporary:
            temporary.mkdir()
            state = {name: thing.state_dict() for name, thing in self.stateful.items()}
            torch.save({"step": step, "stateful": state}, temporary / "state.pt")
        for old in self.steps()[: -self.keep]:
            remove(self.folder / f"{old:08d}")

    def resume(self) -> int:
        """Load the newest checkpoint; returns the number of steps done (0 if there is none)."""
        if not (steps := self.steps()):
            return 0
        saved = torch.load(self.folder / f"{steps[-1]:08d}" / "state.pt", map_location="cpu", weights_only=True)
        for name, thing in self.stateful.items():
            thing.load_state_dict(saved["stateful"][name])
        return saved["step"]
