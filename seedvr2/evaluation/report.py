"""The report of an evaluation in four forms: report.json, report.csv, report.md and report.html.

    write_reports(results, Path("out"))

Results are described in `results.py`; means, intervals and comparisons are worked out here from the clips.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seedvr2.errors import UserError
from seedvr2.evaluation.report_html import html_page
from seedvr2.evaluation.report_pictures import is_embedded
from seedvr2.evaluation.report_text import comma_separated, markdown
from seedvr2.evaluation.results import Results, completed
from seedvr2.io.files import whole

__all__ = ["Results", "json_text", "write_reports"]


def write_reports(results: Results, folder: Path) -> list[Path]:
    """Write the four reports into the folder, each whole or not at all, and return their paths.

    Raises UserError if there is no method to report on.
    """
    if not results.get("methods"):
        raise UserError("there are no methods to report on; score at least one folder of predictions")
    complete = completed(results)
    forms = {"json": json_text, "csv": comma_separated, "md": markdown, "html": html_page}
    paths = []
    for ending, form in forms.items():
        path = Path(folder, f"report.{ending}")
        with whole(path) as temporary:
            # A file's name that is no valid text on this system must not cost the report.
            temporary.write_bytes(form(complete).encode("utf-8", "backslashreplace"))
        paths.append(path)
    return paths


def json_text(results: Results) -> str:
    """Strict JSON: infinities and NaN are null, embedded pictures are null, paths are text."""
    return json.dumps(_strict(results), indent=1, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _strict(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_strict(part) for part in value]
    if is_embedded(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
