"""TLS contexts: `SSL_CERT_FILE` and `SSL_CERT_DIR`, or else Mozilla's certificate authorities.

A wrong variable raises a `ConfigurationError` that names it, instead of an error of OpenSSL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nomos.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

CERT_FILE: Final = "SSL_CERT_FILE"
CERT_DIR: Final = "SSL_CERT_DIR"
KEY_LOG: Final = "SSLKEYLOGFILE"


def client_context(
    environ: Mapping[str, str], *, ca_file: str | None = None, setting: str = CERT_FILE
) -> ssl.SSLContext:
    """Return a client's context; it reads files, which takes some tens of milliseconds.

    `ca_file` (PEM) is trusted instead of what the environment names; `setting` is where it was
    named. Raises `ConfigurationError`.
    """
    import ssl

    import httpx

    try:
        if ca_file is not None:
            return ssl.create_default_context(cafile=_readable(ca_file, setting))
        file, folder = environ.get(CERT_FILE), environ.get(CERT_DIR)
        if file or folder:
            return ssl.create_default_context(
                cafile=_readable(file, CERT_FILE) if file else None,
                capath=_folders(folder) if folder else None,
            )
        return httpx.create_ssl_context(trust_env=False)
    except ssl.SSLError:
        # Only a certificate file that was named in a setting can cause this.
        named = setting if ca_file is not None else CERT_FILE
        raise ConfigurationError(
            f"{named} contains no certificates: it must be a PEM file of certificate authorities, "
            "each from BEGIN CERTIFICATE to END CERTIFICATE",
            setting=named,
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{KEY_LOG} names a file that cannot be written: {error.strerror}. Unset it, or "
            "name another",
            setting=KEY_LOG,
        ) from error


def _readable(path: str, setting: str) -> str:
    try:
        with Path(path).open("rb"):
            return path
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a path"
        raise ConfigurationError(
            f"{setting} names a file of certificates that cannot be read: {path!r}: {why}",
            setting=setting,
        ) from error


def _folders(path: str) -> str:
    """Return the folders for OpenSSL, which would silently skip a missing one."""
    if not any(Path(each).is_dir() for each in path.split(os.pathsep) if each):
        raise ConfigurationError(
            f"{CERT_DIR} names no folder that exists: {path!r}", setting=CERT_DIR
        )
    return path
