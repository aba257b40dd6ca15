"""Checks of the data folder: its owner, its place, and its lock for one system at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos.errors import ConfigurationError
from nomos.server.data_folder.lock import FolderLock
from nomos.server.settings import Settings

NOTHING: Final[Mapping[str, str]] = {}


def lock_data_dir(settings: Settings) -> FolderLock:
    """Make the data folder and the served one if necessary, and lock the data folder."""
    folder = settings.data
    _check_served(folder, settings.served_folder)
    try:
        _make_folder(folder)
        check_owned(folder)
        settings.served_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_no_link(settings)
        return FolderLock(folder)
    except OSError as failure:
        raise unusable(folder, failure) from failure


def _make_folder(folder: Path) -> None:
    """Make the data folder if it is missing, with a `.gitignore` for the keys inside it."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignored = folder / ".gitignore"
        ignored.touch(mode=0o600)
        ignored.write_text("*\n")


def check_owned(folder: Path) -> None:
    """Reject a folder that others can write to: they could add API keys or delete revocations.

    Raises ConfigurationError.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigurationError(
            f"the data folder {folder} belongs to another user, or others may write to it. "
            f"Choose another, or run: chmod go-w {folder}",
            setting="data",
        )


def _check_no_link(settings: Settings) -> None:
    """Reject a link inside the data folder as workspace. One named in settings may be one."""
    if settings.workspace is None and settings.served_folder.is_symlink():
        raise ConfigurationError(
            f"{settings.served_folder} is a link, which could point anywhere. Remove it, or "
            "configure its target as the workspace",
            setting="workspace",
        )


def _check_served(data: Path, served: Path) -> None:
    """Reject a served folder with keys or a database in it: agents read and write there."""
    data, served = data.resolve(), served.resolve()
    if data.is_relative_to(served) or served.is_relative_to(data / "keys"):
        raise ConfigurationError(
            f"the workspace {served} contains the server's own data ({data}), and agents could "
            "read its keys. Serve another folder, or move the data elsewhere",
            setting="workspace",
        )


def check_outside_workspace(
    settings: Settings, policies: str | Path, environ: Mapping[str, str] = NOTHING
) -> None:
    """Reject a served folder with files in it that determine what agents may do.

    `policies` is the path they were read from, or their text. Policies are read from all folders
    within theirs, so the served folder may not be there, either. Nor may the files with
    secrets that variables (`NOMOS_…_FILE`) name.
    """
    served = settings.served_folder.resolve()
    for name, value in environ.items():
        if not (name.startswith("NOMOS_") and name.endswith("_FILE") and value):
            continue
        if Path(value).resolve().is_relative_to(served):
            raise ConfigurationError(
                f"{name}={value} is in the workspace {served}, and agents could read it. Move the "
                "file, or serve another folder",
                setting=name,
            )
    named = (("policies", policies), ("providers", settings.providers))
    for setting, path in named:
        if not isinstance(path, Path):
            continue
        place = path.resolve()
        if place.is_relative_to(served):
            raise ConfigurationError(
                f"the {setting} {place} are in the workspace {served}, and agents could change "
                "their own permissions. Move them, or serve another folder",
                setting=setting,
            )
        if setting == "policies" and served.is_relative_to(place):
            raise ConfigurationError(
                f"the workspace {served} is in the policy folder {place}, and agents could add "
                "policies. Keep the policies in a folder of their own, or serve another folder",
                setting=setting,
            )


def unusable(folder: Path, failure: OSError) -> ConfigurationError:
    at = failure.filename or folder
    if failure.errno == errno.ELOOP:
        return ConfigurationError(
            f"the data folder {folder} cannot be used: {at} is a link. Replace it by the file "
            "itself, or restore the folder from a backup",
            setting="data",
        )
    what = "is not a folder" if failure.errno in (errno.ENOTDIR, errno.EEXIST) else failure.strerror
    return ConfigurationError(
        f"the data folder {folder} cannot be used: {at}: {what}. Choose a folder that this user "
        "may write to",
        setting="data",
    )
