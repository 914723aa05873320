"""Pictures inside the HTML report, as data URIs, so that the page needs no other file."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from seedvr2.evaluation.results import Results, ranking

_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
_BASE64 = {base64.b64encode(start)[:4].decode(): kind for start, kind in _KINDS.items()}
OPEN = 5  # clips whose crops are seen without a click


def data_uri(picture: Any) -> str | None:
    """A picture (path, bytes of a PNG, JPEG, WebP or GIF, or these in base64) as a data URI; None if there is none."""
    if isinstance(picture, str) and picture.startswith("data:image/"):
        return picture
    if is_embedded(picture) and isinstance(picture, str):
        return f"data:image/{_BASE64[picture[:4]]};base64,{picture}"
    if not isinstance(picture, bytes):
        path = Path(picture or "")
        if not path.is_file():
            return None
        picture = path.read_bytes()
    kind = next((kind for start, kind in _KINDS.items() if picture.startswith(start)), None)
    return kind and f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def is_embedded(picture: Any) -> bool:
    """Whether the picture is its own data rather than a path."""
    if isinstance(picture, str):
        return picture.startswith("data:image/") or (len(picture) > 64 and picture[:4] in _BASE64)
    return isinstance(picture, bytes)


def crops(results: Results) -> str:
    """The crops of all methods side by side, clip by clip, the worst clip first."""
    pictures = results.get("pictures", {})
    _, _, ranked = ranking(results)
    clips = [clip for clip in ranked if clip in pictures]
    clips += [clip for clip in pictures if clip not in clips]
    parts = []
    for clip in clips:
        shown = pictures[clip]
        place = f"frame {shown['frame']}" if shown.get("frame") is not None else ""
        if shown.get("crop"):
            top, left, height, width = shown["crop"]
            place += f", {height} x {width} pixels at row {top}, column {left}"
        heading = f'<h3>{escape(clip)}</h3><p class="note">{escape(place.lstrip(", "))}</p>'
        parts.append(heading + _strip(shown.get("methods", {}), clip))
    hidden = "".join(parts[OPEN:])
    more = f"<details><summary>{len(parts) - OPEN} more clips</summary>{hidden}</details>" if hidden else ""
    return "".join(parts[:OPEN]) + more


def profiles(results: Results) -> str:
    """One row of pixels over time, method under method, clip by clip: the paper's Fig. 6."""
    parts = [
        f"<h3>{escape(clip)}</h3>{_strip(methods, clip, 'strip profile')}"
        for clip, methods in results.get("profiles", {}).items()
    ]
    return "".join(parts)


def _strip(methods: dict[str, Any], clip: str, kind: str = "strip") -> str:
    figures = []
    for name, picture in methods.items():
        address = data_uri(picture)
        label = escape(f"{clip}, {name}")
        image = f'<img src="{address}" alt="{label}">' if address else _missing(picture)
        figures.append(f"<figure>{image}<figcaption>{escape(name)}</figcaption></figure>")
    return f'<div class="{kind}">{"".join(figures)}</div>'


def _missing(picture: Any) -> str:
    reason = "none was given" if picture is None else f"{picture} is missing or holds none"
    return f'<div class="missing">no picture: {escape("unreadable" if is_embedded(picture) else reason)}</div>'
