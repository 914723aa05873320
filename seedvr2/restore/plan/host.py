"""What a run holds in host memory: the frames on their way."""

from seedvr2.models.vae.autoencoder import TIME
from seedvr2.restore.plan.prediction import Film
from seedvr2.restore.plan.settings import Settings
from seedvr2.restore.threads import waiting_frames

SAMPLE = 4  # bytes: finished frames and those that wait for them are in fp32
LOOK_AHEAD = 60  # frames that a video encoder holds before it writes the first
CHROMA = 1.5  # samples per pixel in there


def frame_bytes(film: Film, settings: Settings, *, is_host: bool) -> int:
    """Bytes of the frames that are read, wait for their results, or wait to be written. is_host: whether the networks
    run on the host too.
    """
    picture = 3 * film.source.height * film.source.width
    pixels = film.size.height * film.size.width
    enlarged = 3 * SAMPLE * pixels
    waiting = TIME * (settings.window + settings.chunk)
    queue = waiting_frames(film.size, settings.window, is_host=is_host) + 1  # one is at work
    count = film.frames or 10**9
    read = min(count, waiting + queue) * (picture + enlarged)
    written = min(count, queue) * (picture + 2 * enlarged)
    return int(read + written + min(count, LOOK_AHEAD) * CHROMA * pixels)
