"""What each codec and container of an output can hold, and the options that make its bytes reproducible."""

from collections.abc import Mapping
from typing import NamedTuple

QUARTER, HALF, WHOLE = "4:2:0", "4:2:2", "4:4:4"
SPEEDS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
PROFILES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")
MP4 = (".mp4", ".m4v", ".mov")


class Codec(NamedTuple):
    """What a codec can do; the first of several values is its default.

    `suffixes` of files that hold it, those that hold it with alpha, bits per sample, `chromas` (none: RGB), the default
    and the largest `crf` (None: it has none), and `presets` with their default.
    """

    encoder: str
    suffixes: tuple[str, ...]
    depths: tuple[int, ...]
    alpha: tuple[str, ...] = ()
    chromas: tuple[str, ...] = ()
    crf: tuple[int, int] | None = None
    presets: tuple[str, ...] = ()
    preset: str = ""
    options: Mapping[str, str] = {}


THREADS = {"threads": "4"}  # some codecs give other bytes for other numbers of threads, so no machine chooses
VIDEO = {
    # mbtree makes equal frames differ in their bytes from run to run.
    "h264": Codec("libx264", (*MP4, ".mkv"), (8,), (), (QUARTER, HALF, WHOLE), (14, 51), SPEEDS, "medium",
                  {"x264-params": "mbtree=0"}),
    "hevc": Codec("libx265", (*MP4, ".mkv"), (8, 10, 12), (), (QUARTER, HALF, WHOLE), (16, 51), SPEEDS, "medium",
                  {"x265-params": "log-level=error:info=0:open-gop=0:frame-threads=4:wpp=0:lookahead-slices=1"}),
    "prores": Codec("prores_ks", (".mov", ".mkv"), (10,), (".mov", ".mkv"), (HALF, WHOLE), None, PROFILES, "hq",
                    {"vendor": "apl0"}),
    "ffv1": Codec("ffv1", (".mkv",), (8, 10, 12, 16), (".mkv",), options={"g": "1"}),  # any frame can be sought
    "vp9": Codec("libvpx-vp9", (".webm", ".mkv", ".mp4"), (8,), (".webm", ".mkv"), (QUARTER, WHOLE), (20, 63),
                 options={"b": "0", "deadline": "good", "cpu-used": "2", "auto-alt-ref": "0"}),
    "av1": Codec("libsvtav1", (".mp4", ".mkv", ".webm"), (8, 10), (), (QUARTER,), (20, 63),
                 tuple(map(str, range(14))), "6"),
}  # fmt: skip
PICTURES = {
    "png": Codec("", (".png",), (8, 16), (".png",)),
    "tiff": Codec("", (".tif", ".tiff"), (8, 16), (".tif", ".tiff")),
    "exr": Codec("", (".exr",), (16,), (".exr",)),
    "jpeg": Codec("", (".jpg", ".jpeg"), (8,)),
    "webp": Codec("", (".webp",), (8,), (".webp",)),
}
VIDEO_SUFFIXES = (*MP4, ".mkv", ".webm")
PICTURE_SUFFIXES = {suffix: name for name, codec in PICTURES.items() for suffix in codec.suffixes}
