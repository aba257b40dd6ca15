"""File access that cannot leave a folder: `openat`, one path segment at a time.

Each segment of a path is opened relative to the descriptor of the one before it (`openat`) and
never through a symbolic link (`O_NOFOLLOW`). A path is therefore never resolved twice: whatever is
replaced during a call, the descriptors already held stay what they were, and the next step is again
one name in one folder. No step is a check that a race could make obsolete.

Only regular files and folders are opened. Anything else is recognised by `lstat` first, since
opening a device can have effects, and again by `fstat` after, since it may have been replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

from nomos.server.pdp import scratch
from nomos.server.pdp.spelling import spelled
from nomos.server.pdp.statuses import PdpError, denied, invalid, shown, unavailable

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

CHUNK: Final = 256 * 1024
NOTHING_THERE: Final = "there is no such file or folder"


@contextmanager
def folder(root: int, segments: Sequence[str], hint: str = "") -> Iterator[int]:
    """Yield a descriptor of the folder at `segments`; `hint` ends a missing folder's message."""
    # Opened again, not duplicated: duplicates share one position when a folder is listed.
    held = os.open(".", _FOLDER, dir_fd=root)
    try:
        for depth, segment in enumerate(segments, start=1):
            missing = f"there is no folder {shown('/'.join(segments[:depth]))}{hint}"
            with _explained(held, segment, missing):
                below = os.open(spelled(held, segment), _FOLDER, dir_fd=held)
            os.close(held)
            held = below
        yield held
    finally:
        os.close(held)


@contextmanager
def os_errors_as_refusals() -> Iterator[None]:
    """Turn every remaining OSError into a PdpError."""
    try:
        yield
    except OSError as error:
        _explain(error, NOTHING_THERE)


def check_target(parent: int, name: str) -> None:
    """Reject a `name` that `write_file` would reject at present."""
    _existing(parent, name)


def read_file(parent: int, name: str, cap: int) -> bytes:
    """Return the content of the regular file `name`; more than `cap` bytes are rejected."""
    with _explained(parent, name):
        name = spelled(parent, name)
        _regular(os.lstat(name, dir_fd=parent))
        found = os.open(name, _READ, dir_fd=parent)
    try:
        if _regular(os.fstat(found)).st_size > cap:
            raise _too_large(cap)
        # The size may have grown since, and some files do not report theirs.
        content = bytearray()
        while len(content) <= cap:
            chunk = os.read(found, min(CHUNK, cap + 1 - len(content)))
            if not chunk:
                return bytes(content)
            content += chunk
        raise _too_large(cap)
    finally:
        os.close(found)


def write_file(root: int, parent: int, name: str, content: bytes) -> None:
    """Replace or create the regular file `name`: atomically and durably."""
    name, mode = _existing(parent, name)

    def fill(made: int) -> None:
        if mode is not None:
            os.fchmod(made, mode)
        _write_all(made, content)
        os.fsync(made)

    with _explained(parent, name):
        scratch.replace(root, parent, name, fill)
    _settle(parent)


def kind(mode: int) -> str:
    """Return the kind of a directory entry, in the words of the reply."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def _settle(parent: int) -> None:
    """Make a rename durable, where the file system supports that for folders."""
    try:
        os.fsync(parent)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise unavailable("the file was replaced, but the disk did not confirm it") from None


def _write_all(made: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(made, left) :]


def _existing(parent: int, name: str) -> tuple[str, int | None]:
    """Return the name on the disk, and the mode of the file there if there is one."""
    with _explained(parent, name):
        name = spelled(parent, name)
        try:
            return name, stat.S_IMODE(_regular(os.lstat(name, dir_fd=parent)).st_mode) & 0o777
        except FileNotFoundError:
            return name, None


def _regular(found: os.stat_result) -> os.stat_result:
    match kind(found.st_mode):
        case "file":
            return found
        case "directory":
            raise invalid("this path is a folder", "resource.path")
        case "link":
            raise _link()
        case _:
            raise denied("resource_out_of_scope", "only regular files and folders are served")


@contextmanager
def _explained(parent: int, name: str, missing: str = NOTHING_THERE) -> Iterator[None]:
    """Turn an OSError about `name` into a PdpError."""
    try:
        yield
    except OSError as error:
        # A link in place of a folder is ENOTDIR on some systems and ELOOP on others.
        if error.errno == errno.ENOTDIR and _is_link(parent, name):
            raise _link() from None
        _explain(error, missing)


def _explain(error: OSError, missing: str) -> NoReturn:
    match error.errno:
        case errno.ELOOP | errno.EMLINK:
            raise _link() from None
        case errno.ENOENT | errno.ENOTDIR:
            raise PdpError("not_found", missing, fields=("resource.path",)) from None
        case errno.EISDIR:
            raise invalid("this path is a folder", "resource.path") from None
        case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
            raise invalid("the file system does not accept this name", "resource.path") from None
        case errno.EACCES | errno.EPERM | errno.EROFS:
            raise PdpError(
                "forbidden",
                "the PDP has no permission for this: the operator can change the permissions "
                "of the workspace",
            ) from None
        case _:
            reason = errno.errorcode.get(error.errno or 0, "an input/output error")
            raise unavailable(f"the workspace's file system answered {reason}") from None


def _is_link(parent: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)
    except OSError:
        return False


def _link() -> PdpError:
    return denied(
        "resource_out_of_scope", "the path goes through a symbolic link, which is never followed"
    )


def _too_large(cap: int) -> PdpError:
    return PdpError("too_large", f"the file is larger than {cap} bytes", fields=("resource.path",))
