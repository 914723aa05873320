"""What an output is made of: codec, depth, pixel format, options and colour tags, or one sentence why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seedvr2.errors import UserError
from seedvr2.io.codecs import (
    HALF,
    PICTURE_SUFFIXES,
    PICTURES,
    QUARTER,
    THREADS,
    VIDEO,
    VIDEO_SUFFIXES,
    WHOLE,
    Codec,
)
from seedvr2.io.picture import UNTAGGED, Colors, MediaInfo

BT709, BT2020, RGB_MATRIX = 1, 9, 0  # FFmpeg's numbers
LIMITED_RANGE, FULL_RANGE = 1, 2
HEVC_SMALLEST = 64  # pixels of width; with less x265 writes beyond its memory
CURVES = {16: "PQ", 18: "HLG"}
PIXEL_DEPTHS = {8: "", 10: "10le", 12: "12le", 16: "16le"}


@dataclass(frozen=True)
class Encoding:
    """How pictures are written; chosen once per output, equal for all its segments.

    `suffix` of the file or of each picture, `codec` (h264, hevc, prores, ffv1, vp9, av1; png, tiff, exr, jpeg, webp),
    `depth` in bits, FFmpeg's name of the pixel format ("" for pictures), the encoder's options, the colour tags that
    are written, plain sentences on what the output does not keep, and whether it is a folder of pictures.
    """

    suffix: str
    codec: str
    depth: int
    has_alpha: bool
    pixel_format: str
    options: Mapping[str, str]
    colors: Colors
    notes: tuple[str, ...] = ()
    is_folder: bool = False

    @property
    def is_sequence(self) -> bool:
        """Whether frames become pictures of their own, in a folder or, for a single one, in a file."""
        return self.codec in PICTURES

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder; "" for pictures."""
        return {**VIDEO, **PICTURES}[self.codec].encoder

    @property
    def chroma(self) -> str:
        """How chroma is sampled: 4:2:0, 4:2:2 or 4:4:4, which RGB is too."""
        return next((name for name in (QUARTER, HALF) if name.replace(":", "") in self.pixel_format), WHOLE)

    def stored_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in the file: odd ones grow by one where the codec cannot hold them."""
        if self.codec == "vp9" or self.chroma == WHOLE:
            return width, height
        return width + width % 2, height + height % 2 if self.chroma == QUARTER else height

    def describe(self) -> dict:
        """Everything as values that JSON holds."""
        return {
            "suffix": self.suffix,
            "codec": self.codec,
            "depth": self.depth,
            "has_alpha": self.has_alpha,
            "pixel_format": self.pixel_format,
            "options": dict(self.options),
            "colors": self.colors._asdict(),
            "notes": list(self.notes),
            "is_folder": self.is_folder,
        }


def choose_encoding(
    output: Path,
    source: MediaInfo,
    *,
    width: int,
    height: int,
    codec: str | None = None,
    depth: int | None = None,
    crf: float | None = None,
    preset: str | None = None,
    chroma: str | None = None,
    alpha: bool | None = None,
    is_folder: bool = False,
    picture: str = "png",
) -> Encoding:
    """The encoding of `output`, a file or (`is_folder`) a folder of pictures of the format `picture`.

    width, height: of the written frames. None takes the default of the container: see `codecs`. `alpha` None
    keeps it where the default or the given codec can. Raises UserError for a combination that does not exist, for a
    film that is to go into one picture, and for HDR that the output could not hold.
    """
    output = Path(output)
    suffix = _picture_suffix(picture) if is_folder else output.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        name = PICTURE_SUFFIXES[suffix]
        if codec not in (None, name):
            raise UserError(f"the codec {codec} does not write {suffix} pictures; leave it out")
        if not is_folder and (source.frames or 1) > 1:
            raise UserError(f"{output.name} holds one picture, not {source.frames}; give a folder, or a video file")
    elif suffix in VIDEO_SUFFIXES:
        name = codec or _default_codec(suffix, depth, source.has_alpha and alpha is not False)
        _check_codec(name, suffix)
    else:
        known = ", ".join((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))
        raise UserError(f"{output.name} does not end in one of {known}; give the output one of these endings")
    about = {**VIDEO, **PICTURES}[name]
    notes: list[str] = []
    if name == "hevc" and width < HEVC_SMALLEST:
        raise UserError(f"hevc does not take {width}x{height} pixels; use ffv1, or a width of at least {HEVC_SMALLEST}")
    bits = _depth(name, about, suffix, depth, source, notes)
    has_alpha = _alpha(name, about, suffix, alpha, source, notes)
    options = {**about.options, **_quality(name, about, crf, preset), **(THREADS if about.encoder else {})}
    pixel_format = _pixel_format(name, about, bits, has_alpha, (width, height), chroma, notes)
    if name == "prores" and "444" in pixel_format:
        options["profile"] = "4444xq" if options["profile"] == "4444xq" else "4444"
    _check_dynamic_range(name, bits, source, notes)
    colors = _colors(source.colors, is_rgb="yuv" not in pixel_format)
    return Encoding(suffix, name, bits, has_alpha, pixel_format, options, colors, tuple(notes), is_folder)


def _picture_suffix(picture: str) -> str:
    suffixes = {name: codec.suffixes[0] for name, codec in PICTURES.items()}
    suffixes |= {suffix[1:]: suffix for suffix in PICTURE_SUFFIXES}
    if picture not in suffixes:
        raise UserError(f"pictures cannot be written as {picture}; use one of {', '.join(PICTURES)}")
    return suffixes[picture]


def _default_codec(suffix: str, depth: int | None, has_alpha: bool) -> str:
    transparent = {".mov": "prores", ".mkv": "ffv1", ".webm": "vp9"}.get(suffix)
    if has_alpha and transparent and (depth is None or depth in VIDEO[transparent].depths):
        return transparent
    candidates = ("vp9", "av1") if suffix == ".webm" else ("h264", "hevc", "ffv1")
    fitting = [name for name in candidates if suffix in VIDEO[name].suffixes and depth in (None, *VIDEO[name].depths)]
    if not fitting:
        depths = {bits for codec in VIDEO.values() if suffix in codec.suffixes for bits in codec.depths}
        raise UserError(f"{suffix} files do not hold {depth} bits; use {_listed(sorted(depths))}, or .mkv for FFV1")
    return fitting[0]


def _check_codec(name: str, suffix: str) -> None:
    if name not in VIDEO:
        raise UserError(f"the codec {name} is unknown; use one of {', '.join(VIDEO)}")
    if suffix not in VIDEO[name].suffixes:
        fitting = [other for other, codec in VIDEO.items() if suffix in codec.suffixes]
        raise UserError(
            f"{suffix} files do not hold {name}; end the output in {_listed(VIDEO[name].suffixes)}, "
            f"or use {_listed(fitting)}"
        )


def _depth(name: str, about: Codec, suffix: str, depth: int | None, source: MediaInfo, notes: list[str]) -> int:
    if depth is None:
        follows_source = name in ("ffv1", "png", "tiff")  # exact formats keep what there is
        depth = next((bits for bits in about.depths if bits >= source.bits), about.depths[-1])
        depth = depth if follows_source else about.depths[0]
    elif depth not in about.depths:
        fitting = [other for other, codec in VIDEO.items() if suffix in codec.suffixes and depth in codec.depths]
        others = f", or the codec {_listed(fitting)} for {depth}" if fitting else ""
        raise UserError(f"{name} does not hold {depth} bits; use {_listed(about.depths)}{others}")
    if source.bits > depth:
        notes.append(f"the input has {source.bits} bits per sample and the output {depth}, so fine steps are rounded")
    return depth


def _alpha(name: str, about: Codec, suffix: str, alpha: bool | None, source: MediaInfo, notes: list[str]) -> bool:
    can = suffix in about.alpha
    if alpha and not can:
        holders = [f"{other} in {codec.alpha[0]}" for other, codec in {**VIDEO, **PICTURES}.items() if codec.alpha]
        raise UserError(f"{name} in {suffix} holds no transparency; use {_listed(holders)}, or leave alpha out")
    if source.has_alpha and alpha is None and not can:
        notes.append(f"{name} in {suffix} holds no transparency, so it is left out")
    return can and source.has_alpha and alpha is not False


def _quality(name: str, about: Codec, crf: float | None, preset: str | None) -> dict[str, str]:
    options = {}
    if about.crf:
        default, largest = about.crf
        if crf is not None and not 0 <= crf <= largest:
            raise UserError(f"the crf of {name} lies between 0 and {largest}, not at {crf:g}")
        options["crf"] = f"{default if crf is None else crf:g}"
    elif crf is not None:
        raise UserError(f"{name} has no crf; leave it out, or use {_listed([n for n, c in VIDEO.items() if c.crf])}")
    if about.presets:
        if preset not in (None, *about.presets):
            raise UserError(f"{name} has no preset {preset}; use one of {', '.join(about.presets)}")
        options["profile" if name == "prores" else "preset"] = preset or about.preset
    elif preset is not None:
        raise UserError(f"{name} has no presets; leave {preset} out")
    return options


def _pixel_format(
    name: str, about: Codec, depth: int, has_alpha: bool, size: tuple[int, int], chroma: str | None, notes: list[str]
) -> str:
    if not about.chromas:
        if chroma not in (None, WHOLE):
            raise UserError(f"{name} holds RGB, not {chroma}; leave the chroma out")
        if not about.encoder:
            return ""
        return ("bgra" if has_alpha else "bgr0") if depth == 8 else f"gbr{'ap' if has_alpha else 'p'}{depth}le"
    if chroma not in (None, *about.chromas):
        raise UserError(f"{name} has no chroma {chroma}; use {_listed(about.chromas)}")
    width, height = size
    chosen = chroma or about.chromas[0]
    if name == "prores" and has_alpha:
        chosen = WHOLE
    is_odd = name != "vp9" and ((width % 2 and chosen != WHOLE) or (height % 2 and chosen == QUARTER))
    if is_odd and chroma is None and WHOLE in about.chromas:
        chosen = WHOLE
        notes.append(f"{width}x{height} is odd, so the video is {WHOLE}, which some players cannot show")
    elif is_odd:
        notes.append(f"{width}x{height} is odd, so {chosen} repeats the last row or column to make it even")
    return f"yuv{'a' if has_alpha else ''}{chosen.replace(':', '')}p{PIXEL_DEPTHS[depth]}"


def _check_dynamic_range(name: str, depth: int, source: MediaInfo, notes: list[str]) -> None:
    if not source.colors.is_high_dynamic_range:
        return
    curve = CURVES[source.colors.curve]
    if depth < 10 or name == "exr":
        raise UserError(
            f"{source.path} is HDR ({curve}), which {depth}-bit {name} would show wrongly; "
            "use --depth 10 (hevc, prores or ffv1), 16-bit png pictures, or convert the input to SDR first"
        )
    if name == "tiff":
        notes.append(f"tiff pictures do not say that they are {curve}, so tell the program that reads them")


def _colors(source: Colors, *, is_rgb: bool) -> Colors:
    # RGB samples keep their primaries and curve; the matrix and the range are those of the conversion.
    primaries = BT709 if source.primaries == UNTAGGED else source.primaries
    curve = BT709 if source.curve == UNTAGGED else source.curve
    is_wide = BT2020 in (source.primaries, source.matrix) or source.is_high_dynamic_range
    if is_wide and source.primaries == UNTAGGED:
        primaries = BT2020
    if is_rgb:
        return Colors(RGB_MATRIX, primaries, curve, FULL_RANGE)
    return Colors(BT2020 if is_wide else BT709, primaries, curve, LIMITED_RANGE)


def _listed(values: object) -> str:
    *rest, last = map(str, values)
    return f"{', '.join(rest)} or {last}" if rest else last
