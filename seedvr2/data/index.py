"""Index a folder of images and videos: `python -m seedvr2.data.index ROOT --output index.parquet`.

Every file is decoded, cut at shot changes, scored and filtered; what is left out is listed with its reason in
`index.rejected.csv`. Kill it at any time: the same command goes on, and later decodes only new or changed files.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seedvr2.data.indexing.files import File, find_files
from seedvr2.data.indexing.filters import REASONS, Filters
from seedvr2.data.indexing.journal import Journal, Stamp
from seedvr2.data.indexing.metadata import Metadata, read_metadata
from seedvr2.data.indexing.probe import Facts, probe
from seedvr2.data.indexing.progress import Progress
from seedvr2.data.indexing.table import rejected_path, write_tables
from seedvr2.data.indexing.workers import run_jobs
from seedvr2.errors import Parser, UserError, main_guard, orderly_termination

TIMEOUT = 300.0  # seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end with one sentence on stderr and exit code 2."""
    with main_guard("seedvr2.data.index"), orderly_termination():
        arguments = parser().parse_args(argv)
        limits = {name: getattr(arguments, name) for name in LIMITS}
        counts = build_index(
            arguments.root,
            arguments.output,
            filters=Filters(**limits, keep=tuple(arguments.keep)),
            metadata=read_metadata(arguments.metadata) if arguments.metadata else {},
            workers=arguments.workers,
            timeout=arguments.timeout,
            frame_folders=not arguments.no_frame_folders,
            retry=arguments.retry,
        )
        print(f"{counts.pop('', 0)} clips in {arguments.output}")
        if counts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
            print(f"{counts.total()} left out ({reasons}), listed in {rejected_path(arguments.output)}")


LIMITS = {
    "min_side": (int, "shorter side in pixels"),
    "min_frames": (int, "frames of a clip"),
    "min_contrast": (float, "standard deviation of the luma in grey levels"),
    "max_still": (float, "share of frames that repeat the one before"),
    "max_bar": (float, "black bar in percent of its side"),
    "min_sharpness": (float, "variance of the Laplacian; 0 for no limit"),
    "min_motion": (float, "optical flow per frame in percent of the longer side; 0 for no limit"),
}


def parser() -> Parser:
    """The command line's arguments."""
    result = Parser(prog="python -m seedvr2.data.index", description=__doc__.split("\n")[0])
    add = result.add_argument
    add("root", type=Path, help="folder of images, videos and folders of numbered frames")
    add("--output", type=Path, required=True, help="the index, .parquet; its journal and rejected list lie beside it")
    add("--metadata", type=Path, help="CSV or JSON by relative path: licence, tags, caption (path of an embedding)")
    add("--workers", type=int, default=cores(), help="processes (default: all cores)")
    add("--timeout", type=float, default=TIMEOUT, help=f"seconds without a frame that end a file (default {TIMEOUT:g})")
    add("--no-frame-folders", action="store_true", help="take numbered images of a folder as images, not as a clip")
    add("--retry", action="store_true", help="decode files again that had a problem")
    add("--keep", nargs="+", default=[], metavar="REASON", help=f"do not reject for: {', '.join(REASONS)}")
    for name, (kind, meaning) in LIMITS.items():
        default = getattr(Filters, name)
        add(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{meaning} (default {default:g})")
    return result


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_index(
    root: Path,
    output: Path,
    *,
    filters: Filters,
    metadata: dict[str, Metadata],
    workers: int,
    timeout: float = TIMEOUT,
    frame_folders: bool = True,
    retry: bool = False,
) -> Counter[str]:
    """Index everything below `root`; counts of clips by the reason of their rejection, "" for the usable ones.

    Limits and metadata may change between runs at no cost: only new and changed files are decoded. Raises UserError
    for a root without files, an output that cannot be written, and metadata of files or captions that are not there.
    """
    if output.suffix != ".parquet":
        raise UserError(f"--output {output} is no Parquet file; give a name that ends in .parquet")
    if workers < 1:
        raise UserError(f"--workers is {workers}; give at least 1")
    root = root.resolve()
    journal_path = output.with_name(f"{output.stem}.journal.jsonl")
    ours = {_name_below(root, path) for path in (output, journal_path, rejected_path(output))}
    captions = {about.caption for about in metadata.values() if about.caption}
    files = find_files(root, frame_folders=frame_folders, without=ours | captions)
    strangers = sorted(metadata.keys() - {file.name for file in files})
    strangers += sorted(caption for caption in captions if not (root / caption).is_file())
    if strangers:
        raise UserError(f"the metadata name {strangers[0]!r}, which is not below {root}; correct or remove it")
    with Journal(journal_path) as journal:
        if retry:
            journal.forget_damaged()
        _probe_all(root, [file for file in files if file.is_media], journal, workers, timeout)
        return write_tables(output, files, journal, root=root, filters=filters, metadata=metadata)


def _name_below(root: Path, path: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def _probe_all(root: Path, files: list[File], journal: Journal, workers: int, timeout: float) -> None:
    stamps = {file.name: Stamp.of(root / file.name) for file in files}
    missing = [file for file in files if (file.name, stamps[file.name]) not in journal]
    problems = 0
    with Progress(len(missing)) as progress:
        jobs = ((root / file.name, file.kind) for file in missing)
        for (path, _), facts, failure in run_jobs(probe, jobs, workers=workers, timeout=timeout):
            if failure:
                detail = {"crashed": "ended the process that decoded it", "stuck": f"gave no frame for {timeout:g} s"}
                facts = Facts("", 0, problem=failure, detail=f"{path} {detail[failure]}")
            name = path.relative_to(root).as_posix()
            journal.add(name, stamps[name], facts)
            problems += bool(facts.problem)
            progress.step(f"{problems} damaged" if problems else "")


if __name__ == "__main__":
    main()
