"""What the disk said, where torch's checkpoint writer would hide it."""

import errno

from torch.distributed.checkpoint import CheckpointException, FileSystemWriter


class DiskWriter(FileSystemWriter):
    """torch's writer of a rank's tensors, except that a disk that refuses is an OSError also on the other ranks.

    torch raises an error of its archive format in its place, and the reason behind it does not travel between ranks.
    """

    def write_data(self, plan, planner):
        """Write this rank's tensors. Raises OSError where the disk is full, or refuses otherwise."""
        try:
            return super().write_data(plan, planner)
        except Exception as error:
            if (refusal := disk_error(error)) is not None:
                raise refusal from None
            raise


def disk_error(error: BaseException | None) -> OSError | None:
    """The disk's refusal behind an error, also where the errors of several ranks are wrapped in one."""
    if error is None or isinstance(error, OSError):
        return error
    if isinstance(error, CheckpointException):
        return next((found for one, _ in error.failures.values() if (found := disk_error(one))), None)
    return disk_error(error.__cause__ or error.__context__)


def reason_of(error: OSError) -> str:
    """The refusal in words."""
    return "no space left on the device" if error.errno == errno.ENOSPC else str(error.strerror or error)
