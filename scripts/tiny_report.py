"""Curves of a run of tiny, sample sheets of a model with two ends, and how near it stays to clean pictures.

    python scripts/tiny_report.py curves RUN
    python scripts/tiny_report.py sheet NAME.jpg INPUT ... --model MODEL [--scale 4] [--frame 8] [--crop 96x72]
    python scripts/tiny_report.py closeness CLEAN ... [--model tiny] [--frames 17] [--crop 384x384]

`curves` draws metrics.jsonl of a run into curves.svg and keeps the drawn numbers in curves.json. `sheet` restores
crops of inputs at three settings of --fidelity and puts them beside bicubic enlargement, one input per row; 32 pixels
around a crop are restored with it. `closeness` restores clean crops at their own size and writes the PSNR of the result
and of the autoencoder's reconstruction, against the input and each other, into closeness.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from charts import Line, draw
from PIL import Image, ImageDraw

from seedvr2 import Restorer
from seedvr2.errors import UserError, main_guard
from seedvr2.evaluation.metric import make_metrics, score
from seedvr2.io.files import whole, write_json
from seedvr2.io.media import open_media
from seedvr2.models.vae.causal import Carry
from seedvr2.restore.resize import Size, parse_size

OUT = Path(__file__).resolve().parents[1] / "docs" / "tiny"
MARGIN = 32  # pixels
POINTS = 60  # of a curve, each the mean of as many records as it takes
ENDS = ("faithful", "vivid")
FIDELITIES = (1.0, 0.5, 0.0)
CHARTS = {  # title: {label: metric}
    "autoencoder, PSNR of training clips (dB)": {"vae": "vae/psnr", "decoder alone": "decoder/psnr"},
    "loss of base and tune": {"base": "base/loss", "tune": "tune/loss"},
    "PSNR of restored previews (dB)": {name: f"{name}/validation/psnr" for name in ("base", "tune", "restored", *ENDS)},
    "GAN losses (ln 2: undecided)": {
        f"{end}, {player}": f"{end}/{player}/gan" for end in ENDS for player in ("d", "g")
    },
    "logit gap of clean and made clips": {end: f"{end}/d/margin" for end in ENDS},
    "slope penalties (mean squared change / sigma^2)": {
        f"{end}, {kind}": f"{end}/d/{kind}_slope" for end in ENDS for kind in ("r1", "r2")
    },
}


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    curves = kinds.add_parser("curves", help="draw a run")
    curves.add_argument("run", type=Path)
    sheet = kinds.add_parser("sheet", help="restore and compare")
    sheet.add_argument("name")
    sheet.add_argument("inputs", type=Path, nargs="+")
    sheet.add_argument("--model", required=True, help="a folder with two generators, or a run of tiny")
    sheet.add_argument("--scale", type=float, default=4.0)
    sheet.add_argument("--frame", type=int, default=8, help="of films")
    sheet.add_argument("--crop", default="96x72", help="WIDTHxHEIGHT around the centre of the input")
    close = kinds.add_parser("closeness", help="restore clean pictures and films")
    close.add_argument("inputs", type=Path, nargs="+")
    close.add_argument("--model", default="tiny")
    close.add_argument("--frames", type=int, default=17, help="of films")
    close.add_argument("--crop", default="384x384", help="WIDTHxHEIGHT around the centre of the input")
    for each in (curves, sheet, close):
        each.add_argument("--out", type=Path, default=OUT, help="folder (default docs/tiny)")
    options = parser.parse_args()
    with main_guard("tiny_report"):
        options.out.mkdir(parents=True, exist_ok=True)
        if options.kind == "curves":
            draw_run(options.run, options.out)
        elif options.kind == "closeness":
            write_closeness(options)
        else:
            ends = {f"fidelity {share:g}": Restorer(options.model, fidelity=share) for share in FIDELITIES}
            crop = parse_size(options.crop)
            rows = [row_of(path, options, crop, ends) for path in options.inputs]
            with whole(options.out / options.name) as temporary:
                stacked(rows).save(temporary, format="JPEG", quality=88)


def draw_run(run: Path, out: Path) -> None:
    """Write curves.svg and curves.json of a run."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a run")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    charts = [
        (title, [line for label, metric in metrics.items() if (line := curve(records, label, metric)).x])
        for title, metrics in CHARTS.items()
    ]
    with whole(out / "curves.svg") as temporary:
        temporary.write_text(draw(charts, columns=3, from_zero=False))
    kept = {title: {line.label: [line.x, line.y] for line in lines} for title, lines in charts}
    with whole(out / "curves.json") as temporary:
        temporary.write_text(json.dumps(kept) + "\n")


def curve(records: Sequence[Mapping], label: str, metric: str) -> Line:
    """A metric over the steps of its stage, averaged to at most POINTS points."""
    found = [(record["step"], record[metric]) for record in records if record.get(metric) is not None]
    parts = np.array_split(np.asarray(found, float), min(POINTS, len(found))) if found else []
    means = [part.mean(0) for part in parts]
    return Line(label, [float(f"{x:.6g}") for x, _ in means], [float(f"{y:.4g}") for _, y in means])


def row_of(
    path: Path, options: argparse.Namespace, crop: Size, ends: Mapping[str, Restorer]
) -> list[tuple[str, Image.Image]]:
    """Titled pictures of one input: bicubic, then what each restorer makes of it."""
    frames, box = cropped(path, options.frame + 9, crop, MARGIN)
    number = min(options.frame, len(frames) - 1)
    height, width = frames[0].shape[:2]
    enlarged = round(options.scale * width), round(options.scale * height)
    made = [("bicubic", Image.fromarray(frames[number]).resize(enlarged, Image.Resampling.BICUBIC))]
    for title, restorer in ends.items():
        made.append((title, Image.fromarray(restorer.restore(frames, scale=options.scale)[number])))
    return [(title, picture.crop([round(options.scale * value) for value in box])) for title, picture in made]


def cropped(path: Path, count: int, crop: Size, margin: int) -> tuple[list[np.ndarray], tuple[int, int, int, int]]:
    """First frames cut around the centre with a margin, and the crop in them (left, top, right, bottom)."""
    with open_media(path) as media:
        frames = [picture.rgb for picture, _ in zip(media.pictures(), range(count), strict=False)]
    height, width = frames[0].shape[:2]
    size = Size(min(crop.height, height), min(crop.width, width))
    left, top = (width - size.width) // 2, (height - size.height) // 2
    x, y = max(left - margin, 0), max(top - margin, 0)
    kept = [frame[y : top + size.height + margin, x : left + size.width + margin] for frame in frames]
    return kept, (left - x, top - y, left - x + size.width, top - y + size.height)


@torch.no_grad()
def write_closeness(options: argparse.Namespace) -> None:
    """Write closeness.json and print it."""
    restorer = Restorer(options.model, fidelity=1.0)
    codec, (psnr, _) = restorer.shot.codec, make_metrics(("psnr",))
    rows = {}
    for path in options.inputs:
        frames = np.stack(cropped(path, options.frames, parse_size(options.crop), 0)[0])
        height, width = (edge // 16 * 16 for edge in frames.shape[1:3])
        frames = frames[: (len(frames) - 1) // 4 * 4 + 1, :height, :width]
        clip = torch.from_numpy(frames).movedim(-1, 1) / 127.5 - 1
        latent = codec.encode(clip, history=Carry(), noise=None)
        coded = codec.decode(latent, history=Carry()).float().clamp(-1, 1).add(1).mul(127.5).round().byte()
        coded = coded.movedim(1, -1).numpy()
        made = restorer.restore(frames, scale=1.0)
        pairs = {"restored": (made, frames), "autoencoder": (coded, frames), "between": (made, coded)}
        rows[path.name] = {name: round(score(psnr, *pair)["psnr"], 3) for name, pair in pairs.items()}
        print(path.name, rows[path.name])
    means = {name: round(float(np.mean([row[name] for row in rows.values()])), 3) for name in rows[path.name]}
    print("mean", means)
    write_json(options.out / "closeness.json", {"crop": options.crop, "psnr": rows, "mean": means})


def stacked(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Rows of titled pictures as one picture."""
    width = max(sum(picture.width + 4 for _, picture in row) for row in rows)
    sheet = Image.new("RGB", (width, sum(row[0][1].height + 20 for row in rows)), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for row in rows:
        left = 0
        for title, picture in row:
            pen.text((left + 2, top + 4), title, fill="black")
            sheet.paste(picture, (left, top + 18))
            left += picture.width + 4
        top += row[0][1].height + 20
    return sheet


if __name__ == "__main__":
    main()
