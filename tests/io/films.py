"""Pictures, encodings and films that the tests of writing share."""

import itertools
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from seedvr2.io.clock import FrameClock
from seedvr2.io.encoding import Encoding, choose_encoding
from seedvr2.io.mux import assemble
from seedvr2.io.picture import Colors, Picture
from seedvr2.io.segments import SegmentWriter
from seedvr2.io.tracks import exact

NTSC = Fraction(30000, 1001)


def source_like(path="film.mp4", **known):
    """What the reading side would say of a file, as far as writing asks."""
    defaults = {"kind": "video", "has_alpha": False, "colors": Colors(), "bits": 8, "frames": None}
    return types.SimpleNamespace(path=Path(path), **{**defaults, **known})


def encoding_for(name, *, width=64, height=48, source=None, **wishes) -> Encoding:
    return choose_encoding(Path(name), source or source_like(), width=width, height=height, **wishes)


def moving(index, *, width=64, height=48, bits=8, alpha=False) -> Picture:
    """A smooth coloured picture that moves with its index, and soft stripes of transparency."""
    largest, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin((columns + 3 * index) / 9), np.cos(rows / 7), np.sin((rows + columns) / 11)]
    rgb = ((0.5 + 0.45 * np.stack(waves, axis=-1)) * largest).astype(kind)
    return Picture(rgb, ((columns + index) % 16 / 15 * largest).astype(kind) if alpha else None)


def noise(index, *, width=64, height=48, bits=8, alpha=False) -> Picture:
    generator = np.random.default_rng(index)
    kind = np.uint8 if bits == 8 else np.uint16
    samples = generator.integers(0, 2**bits, (height, width, 4), dtype=kind)
    return Picture(samples[..., :3], samples[..., 3] if alpha else None)


def segments_of(folder, encoding, pictures, *, clock=None, cuts=(), stamps=None, sample_aspect=Fraction(1)):
    """Write pictures as segments that end at the `cuts`; the clock and the paths."""
    clock = clock or FrameClock(NTSC, time_base=Fraction(1, 90000))
    stamps = stamps or [round(index * 3003) for index in range(len(pictures))]
    height, width = pictures[0].rgb.shape[:2]
    paths = []
    for begin, end in itertools.pairwise([0, *cuts, len(pictures)]):
        path = folder / f"{begin:05d}.segment"
        options = {"width": width, "height": height, "clock": clock, "first": begin, "sample_aspect": sample_aspect}
        with SegmentWriter(path, encoding, **options) as writer:
            for index in range(begin, end):
                writer.write(pictures[index], clock.tick(stamps[index]))
        paths.append(path)
    return clock, paths


def film(output, encoding, pictures, *, source=None, until=None, sample_aspect=Fraction(1), **options):
    """Write pictures into a finished file; what `assemble` says."""
    folder = output.parent / f"{output.name}.work"
    clock, paths = segments_of(folder, encoding, pictures, sample_aspect=sample_aspect, **options)
    return assemble(output, paths, encoding, source=source, clock=clock, sample_aspect=sample_aspect, until=until)


def decoded(path):
    """The frames of a video and their times in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return frames, [frame.pts * exact(stream.time_base) for frame in frames]
