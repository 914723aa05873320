"""What a run holds in host memory: the frames on their way."""

from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.settings import Settings

SAMPLE = 4  # bytes: finished frames and those that wait for them are in fp32
QUEUE = 5  # frames between two threads: four that wait and one at work
LOOK_AHEAD = 60  # frames that a video encoder holds before it writes the first
CHROMA = 1.5  # samples per pixel in there


def frame_bytes(film: Film, settings: Settings) -> int:
    """Bytes of the frames that are read, wait for their results, or wait to be written."""
    picture = 3 * film.source.height * film.source.width
    pixels = film.size.height * film.size.width
    enlarged = 3 * SAMPLE * pixels
    waiting = TIME * (settings.window + settings.chunk)
    count = film.frames or 10**9
    read = min(count, waiting + QUEUE) * (picture + enlarged)
    written = min(count, QUEUE) * (picture + 2 * enlarged)
    return int(read + written + min(count, LOOK_AHEAD) * CHROMA * pixels)
