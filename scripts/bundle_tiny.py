"""Put a finished run into the package as seedvr2-tiny: bf16 weights and a model card.

    python scripts/bundle_tiny.py RUN --commit HASH [--scores report.json ...] [--differs TEXT]

Takes the generators of both ends, the prompts and the VAE, writes seedvr2/assets/tiny/ and its card.json: the exact
training command and configuration, data with licences (docs/tiny_data.md), iterations and last metrics of every stage.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from seedvr2.errors import UserError, main_guard
from seedvr2.io.files import whole, write_json
from seedvr2.models.released import read_state_dict

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "seedvr2" / "assets" / "tiny"
LARGEST = 40 * 2**20  # bytes
PLACES = {  # file of the model: stage and file of the run
    "vae": "restored/final/vae",
    "generator": "vivid/final/generator",
    "faithful": "faithful/final/generator",
    "prompts": "tune/final/prompts",
}


def main() -> None:
    """Parse and bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the finished run")
    parser.add_argument("--commit", required=True, help="commit of this repository that trained it")
    parser.add_argument("--scores", type=Path, nargs="+", default=[], help="report.json files to quote")
    parser.add_argument("--differs", help="what was not as the command of the card does it")
    options = parser.parse_args()
    with main_guard("bundle_tiny"), whole(TARGET) as folder:
        folder.mkdir(parents=True)
        for name, place in PLACES.items():
            halve(options.run / f"{place}.safetensors", folder / f"{name}.safetensors")
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > LARGEST:
            raise UserError(f"the weights take {size} bytes: {LARGEST} are allowed")
        write_json(folder / "card.json", card(options, folder))


def halve(source: Path, target: Path) -> None:
    """Copy a weights file in bf16; RoPE frequencies and metadata stay as they are."""
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
    state = read_state_dict(source)
    save_file(
        {key: value if key.endswith("rope.freqs") else value.to(torch.bfloat16) for key, value in state.items()},
        target,
        metadata=metadata,
    )


def quoted(report: dict) -> dict:
    """What a report says in short."""
    means = {name: method["mean"] for name, method in report["methods"].items()}
    return {"command": report["command"], "lq_hash": report["lq_hash"], "mean": means}


def card(options: argparse.Namespace, folder: Path) -> dict:
    """Everything that says where the weights come from."""
    text = (options.run / "config.yaml").read_text()
    config = yaml.safe_load(text)
    for path, name in ((config["data"]["root"], "DIR"), (config["run"]["dir"], "RUN")):
        text = text.replace(path, name)  # where they lay is nobody's business
    records = [json.loads(line) for line in (options.run / "metrics.jsonl").read_text().splitlines()]
    last = {record["stage"]: record for record in records}
    stages = {
        name: {"iterations": record["step"], **{key: value for key, value in record.items() if "/" in key}}
        for name, record in last.items()
    }
    return {
        "name": "seedvr2-tiny",
        "licence": "Apache-2.0",
        "intended_use": "trying the tools out, and tests; far too small for serious restoration",
        "parameters": {name: parameters(folder / f"{name}.safetensors") for name in PLACES},
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
        "command": "bash scripts/train_tiny.sh DIR RUN",
        "differs": options.differs,
        "commit": options.commit,
        "config": yaml.safe_load(text),
        "data": data_list(),
        "stages": stages,
        "scores": [quoted(json.loads(path.read_text())) for path in options.scores],
    }


def parameters(path: Path) -> int:
    """Number of parameters in a file."""
    state = read_state_dict(path)
    return sum(value.numel() for key, value in state.items() if not key.endswith("rope.freqs"))


def data_list() -> list[dict[str, str]]:
    """Rows of the first table of docs/tiny_data.md."""
    lines = (ROOT / "docs" / "tiny_data.md").read_text().split("\n## ")[0].splitlines()
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    keys = "file", "size", "frames", "source", "licence", "sha256_prefix"
    return [dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys)]


if __name__ == "__main__":
    main()
