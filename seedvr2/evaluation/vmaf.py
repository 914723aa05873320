"""VMAF (model vmaf_v0.6.1) with the ffmpeg binary of imageio-ffmpeg, which contains libvmaf."""

import json
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from seedvr2.errors import UserError

MODEL = "version=vmaf_v0.6.1"  # pinned: newer builds also carry other default models


def vmaf(frames: np.ndarray, references: np.ndarray, *, threads: int = 2) -> float:
    """Mean VMAF, 0 to 100, of uint8 clips (T, H, W, 3) at their own size, both converted to BT.709 4:2:0.

    Raises UserError if imageio-ffmpeg is not installed.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # optional
    except ImportError as error:
        raise UserError("VMAF needs the package imageio-ffmpeg: pip install 'seedvr2[metrics]'") from error
    with tempfile.TemporaryDirectory() as folder:
        distorted, reference, report = (Path(folder, name) for name in ("distorted.mkv", "reference.mkv", "vmaf.json"))
        for path, clip in ((distorted, frames), (reference, references)):
            _write_lossless(path, clip)
        steps = "[0:v]setpts=N[d];[1:v]setpts=N[r];[d][r]libvmaf"  # libvmaf takes the distorted clip first
        options = f"model='{MODEL}':n_threads={threads}:log_fmt=json:log_path={report.name}"
        command = [get_ffmpeg_exe(), "-v", "error", "-i", distorted.name, "-i", reference.name]
        subprocess.run([*command, "-lavfi", f"{steps}={options}", "-f", "null", "-"], cwd=folder, check=True)
        return float(json.loads(report.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _write_lossless(path: Path, clip: np.ndarray) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
