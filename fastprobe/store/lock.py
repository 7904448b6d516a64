"""Who writes to a store: one at a time, and the others are told who."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastprobe.errors import InputError

__all__ = ["Holder", "busy", "file_lock"]


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Attributes
    ----------
    host : str
    pid : int
    since : str
        Local time, ISO 8601.
    """

    host: str
    pid: int
    since: str

    @classmethod
    def this(cls) -> Holder:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), datetime.now().astimezone().isoformat(timespec="seconds"))

    @classmethod
    def parse(cls, data: bytes) -> Holder | None:
        """Read what :meth:`to_bytes` wrote; None for anything else (a holder that has just begun, say)."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None

    def to_bytes(self) -> bytes:
        """Write for others to read."""
        return json.dumps(vars(self)).encode()

    @property
    def has_ended(self) -> bool:
        """Whether it is known to be gone: a process of this machine that is not there any more."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def busy(location: str, holder: Holder | None, fix: str) -> InputError:
    """Say that somebody else writes to a store."""
    return InputError(
        location,
        found=f"another ingest at work there ({holder or 'just begun'})",
        expected="one at a time",
        fix=fix,
    )


@contextmanager
def file_lock(path: Path, location: str) -> Iterator[None]:
    """Hold a lock file; the system gives it back when the process ends, however that happens.

    Raises
    ------
    InputError
        If another process holds it.
    OSError
        If the file cannot be made.
    """
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise busy(location, Holder.parse(file.read()), "wait for it, or end it") from None
        file.truncate(0)
        file.write(Holder.this().to_bytes())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
