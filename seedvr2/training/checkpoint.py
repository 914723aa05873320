"""Checkpoints of an unfinished stage: everything named in `stateful`, and the step.

Written in torch's distributed format: each rank writes its shards, and any number of ranks can read them. A step folder
appears by renaming when all of it, checksums too, is on disk; writing goes on beside the training.
"""

import functools
import json
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from seedvr2.errors import UserError
from seedvr2.io.files import remove
from seedvr2.training.disk import DiskWriter, disk_error, reason_of
from seedvr2.training.integrity import fault_of, write_sums

PLAIN = "plain.json"
warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # a single process is no mistake
Flat = dict[str, object]


class Checkpointer:
    """Folder `<stage>/checkpoints/<step>/`; a folder that exists is whole.

    keep: how many newest ones stay. archive_every: checkpoints of multiples of this step stay for ever, 0 for none.
    group: all ranks, on the CPU, None for a process alone; writing beside the training must not mix its exchanges with
    those of the training. Every rank must call every method.
    """

    def __init__(
        self,
        folder: Path,
        stateful: Mapping[str, object],
        *,
        keep: int = 2,
        archive_every: int = 0,
        group: dist.ProcessGroup | None = None,
    ):
        self.folder, self.stateful, self.keep, self.archive_every = folder, stateful, keep, archive_every
        self.group = group
        self.ranks, self.rank = (group.size(), group.rank()) if group is not None else (1, 0)
        self.writing: threading.Thread | None = None
        self.failure: tuple[int, str, BaseException | None] | None = None

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, rising, as this rank sees them."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit() and path.is_dir())

    def save(self, step: int) -> None:
        """Begin to write a checkpoint after `step` steps; training may go on.

        Raises UserError if the one before could not be written.
        """
        self.wait()
        temporary = self.folder / f".{step:08d}.part"
        flat = flattened({name: thing.state_dict() for name, thing in self.stateful.items()})
        tensors = {key: value for key, value in flat.items() if isinstance(value, Tensor)}
        plain = {key: value for key, value in flat.items() if not isinstance(value, Tensor)} | {"step": step}
        if not self._together(step, functools.partial(self._open, temporary, plain)):
            self._raise_failure()
        writer = DiskWriter(temporary)
        if self.group is not None:
            work = dcp.async_save(tensors, storage_writer=writer, process_group=self.group).result
        else:
            copies = {key: value.detach().cpu().clone() for key, value in tensors.items()}
            work = functools.partial(dcp.save, copies, storage_writer=writer, no_dist=True)
        self.writing = threading.Thread(target=self._finish, args=(step, temporary, work))
        self.writing.start()

    def _open(self, temporary: Path, plain: Flat) -> None:
        if self.rank == 0:
            remove(temporary)
            temporary.mkdir(parents=True)
            (temporary / PLAIN).write_text(json.dumps(plain))

    def _finish(self, step: int, temporary: Path, work: Callable[[], object]) -> None:
        if self._together(step, functools.partial(self._write, temporary, work)):
            self._together(step, functools.partial(self._publish, temporary, self.folder / f"{step:08d}"))

    def _write(self, temporary: Path, work: Callable[[], object]) -> None:
        work()
        mine = [path for path in temporary.iterdir() if path.name.startswith(f"__{self.rank}_")]
        if self.rank == 0:
            mine += [temporary / PLAIN, temporary / ".metadata"]
        write_sums(temporary, self.rank, mine)

    def _publish(self, temporary: Path, final: Path) -> None:
        if self.rank == 0:
            remove(final)
            temporary.rename(final)
            for old in self.steps()[: -self.keep]:
                if not (self.archive_every and old % self.archive_every == 0):
                    remove(self.folder / f"{old:08d}")

    def _together(self, step: int, work: Callable[[], None]) -> bool:
        """Do a part of a save; whether it went well on every rank. If not, every rank has a failure to raise."""
        error, reason = None, None
        try:
            work()
        except (Exception, dcp.CheckpointException) as caught:  # the latter is no Exception
            refusal = disk_error(caught)
            error, reason = caught, reason_of(refusal) if refusal else ""
        found = self._anywhere(reason)
        if found is not None:
            self.failure = step, found, error
        return found is None

    def wait(self) -> None:
        """Until what is being written is whole. Raises UserError if it cannot be."""
        self.join()
        self._raise_failure()

    def join(self) -> None:
        """Until nothing is being written, be it whole or not."""
        if self.writing is not None:
            self.writing.join()
            self.writing = None

    def _raise_failure(self) -> None:
        if self.failure is None:
            return
        (step, reason, error), self.failure = self.failure, None
        if self.rank == 0:
            shutil.rmtree(self.folder / f".{step:08d}.part", ignore_errors=True)
        if not reason:
            raise error or RuntimeError(f"another rank could not write the checkpoint of step {step}")
        raise UserError(
            f"the checkpoint of step {step} could not be written to {str(self.folder)!r} ({reason}): make room and "
            "start again; older checkpoints are untouched"
        ) from error

    def resume(self) -> int:
        """Load the newest checkpoint that is undamaged; returns the number of steps done (0 if there is none).

        Damaged and half-written ones are named and passed over. Raises UserError if all are damaged, or if the newest
        does not fit the networks.
        """
        if self.rank == 0:
            for path in sorted(self.folder.glob(".*.part")):
                print(f"checkpoint {path} was not finished: passed over", flush=True)
                remove(path)
        steps = self._of_main(self.steps())  # a shared folder need not look the same from everywhere
        for step in reversed(steps):
            path = self.folder / f"{step:08d}"
            found = self._anywhere(fault_of(path, self.rank, self.ranks))
            if found is None:
                return self._load(path)
            if self.rank == 0:
                print(f"checkpoint {path} is damaged ({found}): passed over", flush=True)
        if steps:
            raise UserError(f"every checkpoint in {str(self.folder)!r} is damaged: remove the folder to start anew")
        return 0

    def _of_main(self, value):
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def _anywhere(self, fault: str | None) -> str | None:
        # what any rank found wrong, on every rank
        if self.group is None:
            return fault
        faults: list[str | None] = [None] * self.ranks
        dist.all_gather_object(faults, fault, group=self.group)
        return next((one for one in faults if one is not None), None)

    def _load(self, path: Path) -> int:
        current = flattened({name: thing.state_dict() for name, thing in self.stateful.items()})
        saved = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
        tensors = {key: _room(key, meta, current) for key, meta in saved.items()}
        dcp.load(tensors, checkpoint_id=path, process_group=self.group, no_dist=self.group is None)
        plain = json.loads((path / PLAIN).read_text())
        step = plain.pop("step")
        state = nested({**tensors, **plain})
        try:
            for name, thing in self.stateful.items():
                thing.load_state_dict(state[name])
        except (KeyError, RuntimeError) as error:  # an unknown name, or another shape
            raise UserError(
                f"checkpoint {str(path)!r} does not fit this configuration ({error}): train in another "
                "run.dir, or with the settings the run began with"
            ) from error
        return step


def _room(key: str, meta: TensorStorageMetadata, current: Flat) -> Tensor:
    """An empty tensor to load into, spread like the one of the same name now, or like the parameter it belongs to."""
    like = current.get(key)
    if like is None and "/optimizer/" in key:
        owner, _, rest = key.partition("/optimizer/")
        parameter = rest.rpartition("/")[0].replace(".", "/", 1)
        like = current.get(f"{owner}/networks/{parameter}")
    if isinstance(like, Tensor) and like.shape == meta.size:
        return torch.empty_like(like, dtype=meta.properties.dtype)
    return torch.empty(meta.size, dtype=meta.properties.dtype)


def flattened(state: Mapping, prefix: str = "") -> Flat:
    """Nested mappings as one, keys joined by `/`; an empty mapping stays as it is."""
    flat: Flat = {}
    for key, value in state.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested(flat: Flat) -> dict:
    """The inverse of `flattened`."""
    state: dict = {}
    for key, value in flat.items():
        *path, last = key.split("/")
        node = state
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return state
