"""Who is at work in a place: one process at a time, and the others are told who."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

__all__ = ["Holder", "held"]


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


@contextmanager
def held(file: BinaryIO, busy: Callable[[Holder | None], Exception]) -> Iterator[None]:
    """Hold a lock file; the system gives it back when the process ends, however that happens.

    Parameters
    ----------
    file : file
        Opened with the mode ``a+b``. While it is held, it says who holds it.
    busy : callable
        Given who holds it, as far as that is known, returns the error to be raised if another process does.

    Raises
    ------
    OSError
        If it cannot be written to.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise busy(Holder.parse(file.read())) from None
    file.truncate(0)
    file.write(Holder.this().to_bytes())
    file.flush()
    try:
        yield
    finally:
        file.truncate(0)
