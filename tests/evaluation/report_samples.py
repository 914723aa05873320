"""Made-up results of an evaluation, for the tests of its reports."""

import base64
import math

import cv2
import numpy as np

HARMFUL = """<script src="https://example.org/x.js">&"'|`*_ 夜景"""  # as the name of a method or clip
METRICS = {
    "psnr": {"better": "higher", "needs": "gt", "definition": "PSNR <RGB>", "version": "1", "weights": ""},
    "lpips": {"better": "lower", "needs": "gt", "definition": "AlexNet", "version": "0.1.4", "weights": "sha256:ab12"},
    "jump": {"better": "", "needs": "", "definition": "ratio", "version": "1", "weights": ""},
    "empty": {"better": "higher", "needs": "gt", "definition": "no clip has it", "version": "", "weights": ""},
}


def png(value: int) -> bytes:
    """A small PNG of one grey."""
    return cv2.imencode(".png", np.full((8, 12, 3), value, np.uint8))[1].tobytes()


def made_up(methods=("zebra", "bicubic", HARMFUL), clips=("b", "a", HARMFUL)) -> dict:
    """Results whose method k scores better than method k - 1 on every clip; the first has one infinite PSNR."""
    found = {}
    for k, method in enumerate(methods):
        scores = {
            clip: {"psnr": 20.0 + i + 2 * k, "lpips": 0.5 - 0.1 * k + 0.01 * i, "jump": 1.0 + 0.1 * k, "empty": None}
            for i, clip in enumerate(clips)
        }
        speed = {clip: {"seconds": 2.0 + i, "peak_mb": 100 * (k + 1) + i, "frames": 4} for i, clip in enumerate(clips)}
        found[method] = {"clips": scores, "facts": {"model": f"sha256:{k}"}, "speed": speed}
    found[methods[0]]["clips"][clips[0]]["psnr"] = math.inf
    pictures = {method: base64.b64encode(png(10 * k)).decode() for k, method in enumerate(methods)}
    return {
        "bench": {"name": "youhq40", "gt": "720p"},
        "protocol": "aligned",
        "partial": False,
        "registered": False,
        "lq_hash": "sha256:c0ffee",
        "notes": [],
        "metrics": METRICS,
        "skipped": {"musiq": "pyiqa <is> not installed"},
        "methods": found,
        "offsets": {method: {clip: {"down": 0, "right": 0, "frames": 0} for clip in clips} for method in methods},
        "pictures": {clip: {"frame": 3, "crop": [0, 4, 8, 12], "methods": pictures} for clip in clips},
        "profiles": {clips[0]: {method: png(200) for method in methods}},
        "versions": {"seedvr2": "0.1"},
        "hardware": {"cpu": "two cores"},
        "command": "python -m seedvr2.eval --bench youhq40",
    }


def swept(settings=(8, 1, 2)) -> dict:
    """The same with a method of several steps."""
    results = made_up()
    for setting in settings:
        clips = {"a": {"psnr": 20.0 + setting, "lpips": 0.5 / setting}}
        results["methods"][f"slow & steady steps={setting}"] = {"clips": clips, "facts": {"sweep": {"steps": setting}}}
    return results
