"""VMAF (model vmaf_v0.6.1) with the ffmpeg binary of imageio-ffmpeg, which contains libvmaf."""

import json
import re
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from seedvr2.evaluation.contract import DEFAULT, Clip, Facts, Settings, Unavailable, versions
from seedvr2.evaluation.weights import need

MODEL = "version=vmaf_v0.6.1"  # pinned: newer builds also carry other default models
LUMA = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"  # the same for both clips


class Vmaf:
    """Mean VMAF of a clip. Both clips are written losslessly into temporary files, frame by frame."""

    def __init__(self, _settings: Settings = DEFAULT):
        self._program = ffmpeg_with_vmaf()
        definition = (
            "VMAF, model vmaf_v0.6.1, 0 to 100 (equal clips just below), at the clips' own size, both converted from "
            f"RGB by ffmpeg's `{LUMA}`, mean over frames."
        )
        version = f"{versions('imageio-ffmpeg')}, {ffmpeg_version(self._program)}"
        self.facts = Facts("vmaf", "higher", "gt", definition, version)
        self._folder: tempfile.TemporaryDirectory | None = None
        self._files: list[LosslessFile] = []

    def start(self, clip: Clip) -> None:
        self._discard()
        self._folder = tempfile.TemporaryDirectory(prefix="vmaf-")
        paths = [Path(self._folder.name, name) for name in ("distorted.mkv", "reference.mkv")]
        self._files = [LosslessFile(path, clip.height, clip.width) for path in paths]

    def add(self, prediction: np.ndarray, gt: np.ndarray | None = None, lq: np.ndarray | None = None) -> None:
        assert gt is not None, "vmaf needs the ground truth"
        assert prediction.shape == gt.shape, f"{prediction.shape} against {gt.shape}"
        for file, frame in zip(self._files, (prediction, gt), strict=True):
            file.write(frame)

    def result(self) -> float | None:
        if not self._files or not self._files[0].frames:
            self._discard()
            return None
        for file in self._files:
            file.close()
        try:
            return compare(self._program, self._files[0].path, self._files[1].path)
        finally:
            self._discard()

    def _discard(self) -> None:
        for file in self._files:
            file.close()
        self._files = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class LosslessFile:
    """A Matroska file of FFV1 in RGB, written frame by frame.

    frames: how many were written.
    """

    def __init__(self, path: Path, height: int, width: int):
        self.path, self.frames = path, 0
        self._container = av.open(path, "w")
        self._stream = self._container.add_stream("ffv1", rate=Fraction(25))
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "bgr0"

    def write(self, picture: np.ndarray) -> None:
        """The next frame, uint8 RGB (H, W, 3)."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="bgr0")
        frame.pts = self.frames
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; a second call does nothing."""
        if self._container is not None:
            if self.frames:
                self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None


def compare(program: str, distorted: Path, reference: Path) -> float:
    """Mean VMAF of two files of the same length and size, by an ffmpeg with libvmaf."""
    with tempfile.TemporaryDirectory(prefix="vmaf-") as folder:
        steps = f"[0:v]setpts=N,{LUMA}[d];[1:v]setpts=N,{LUMA}[r];[d][r]libvmaf"  # libvmaf takes the distorted first
        options = f"model='{MODEL}':n_threads={torch.get_num_threads()}:log_fmt=json:log_path=vmaf.json"
        command = [program, "-v", "error", "-nostdin", "-i", str(distorted.resolve()), "-i", str(reference.resolve())]
        subprocess.run([*command, "-lavfi", f"{steps}={options}", "-f", "null", "-"], cwd=folder, check=True)
        return float(json.loads(Path(folder, "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"])


def ffmpeg_with_vmaf() -> str:
    """The program of imageio-ffmpeg, or the one that IMAGEIO_FFMPEG_EXE names. Raises Unavailable without libvmaf."""
    try:
        program = need("imageio_ffmpeg", package="imageio-ffmpeg").get_ffmpeg_exe()
        said = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"the program ffmpeg cannot be run ({error}): pip install imageio-ffmpeg") from error
    if " libvmaf " not in said:
        raise Unavailable(f"{program} has no libvmaf: unset IMAGEIO_FFMPEG_EXE, or name an ffmpeg that has it")
    return program


def ffmpeg_version(program: str) -> str:
    """As in "ffmpeg 7.1"."""
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"ffmpeg version (\S+)", said)
    return f"ffmpeg {found.group(1)}" if found else "ffmpeg of unknown version"
