"""The account of an output, beside it: what it was made of and how, enough to make it again."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from seedvr2.errors import UserError
from seedvr2.io.files import whole
from seedvr2.restore.journal import hash_of

PACKAGES = ("seedvr2", "torch", "av", "numpy", "opencv-python-headless", "pillow")


def write_sidecar(path: Path, source: Path, output: Path, facts: Mapping) -> None:
    """Write the account of `output`, made from `source`, with `facts` about it. Raises UserError for a full disk."""
    account = {
        "input": {"name": source.name, "sha256": hash_of(source)},
        "output": {"name": output.name, "sha256": hash_of(output)},
        **facts,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
    }
    try:
        with whole(path) as temporary:
            text = json.dumps(account, indent=1, ensure_ascii=False) + "\n"
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names need not be text
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); make room and run again") from error
