"""The folder entry that a path segment names, despite Unicode forms and letter case.

Paths are in Unicode's composed form (NFC), also in policy. Names on a disk may be decomposed (macOS
writes them so): such an entry is what the composed spelling names, as long as no other entry has
that spelling too. Some file systems find an entry by other spellings, such as another case. There,
too, one entry has only one path; otherwise a policy about `secret/` would not apply to `SECRET/`.
"""

from __future__ import annotations

import errno
import os
import unicodedata

from nomos.server.pdp.statuses import invalid


def spelled(parent: int, segment: str) -> str:
    """Return the name on the disk of the entry that `segment` names in the folder `parent`.

    If there is none, `segment` is returned as it is: it is the name of a new entry. Raises PdpError
    if two entries have that spelling, and OSError; FileNotFoundError if the file system finds an
    entry by this segment that has another name.
    """
    found = _stat(parent, segment)
    if found is None and segment.isascii():
        return segment  # no other name has this composed form
    if found is not None and not _has_aliases(parent, segment, found):
        return segment
    names = {name for name in os.listdir(parent) if unicodedata.normalize("NFC", name) == segment}
    if segment in names:
        return segment
    if len(names) > 1:
        raise invalid(
            "two entries have this name in different spellings; rename one of them", "resource.path"
        )
    if found is not None and not names:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return names.pop() if names else segment


def _has_aliases(parent: int, segment: str, found: os.stat_result) -> bool:
    """Return whether the file system may find the entry by another spelling than its own."""
    other = segment.swapcase()
    if other == segment:
        return not segment.isascii()
    try:
        alias = _stat(parent, other)
    except OSError:  # such as a name that is too long: this spelling is not usable
        return not segment.isascii()
    return alias is not None and os.path.samestat(alias, found)


def _stat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
