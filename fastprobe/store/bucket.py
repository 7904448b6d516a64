"""A store in a bucket of S3, or of a server that speaks its protocol, through obstore."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastprobe.errors import InputError
from fastprobe.lock import Holder
from fastprobe.store.objects import WritableObjects, busy

if TYPE_CHECKING:
    import zarr.storage
    from obstore.store import S3Store

__all__ = ["Bucket"]

_AT_ONCE = 8
"""Objects that are read at the same time: what costs is the way to the server and back."""


_RETRIES = 6
"""Of every request, with longer and longer waits in between: a few seconds in all."""


class Bucket(WritableObjects):
    """Objects below a prefix of a bucket.

    Credentials, region and endpoint come from the usual variables of the environment (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ...).

    Parameters
    ----------
    location : str
        ``s3://bucket/prefix.zarr``.

    Raises
    ------
    InputError
        If obstore is not installed, or a variable of the environment has no meaning.
    """

    def __init__(self, location: str) -> None:
        super().__init__(location)
        try:
            from obstore.exceptions import BaseError
        except ImportError as error:
            raise InputError(
                location,
                found="a store in a bucket, but no library for it",
                expected="the package obstore",
                fix="run: pip install 'fastprobe[remote]'",
            ) from error
        self.errors = (OSError, BaseError)
        try:
            self._store = _connect(location)
        except BaseError as error:
            raise InputError(
                location, found=str(error), expected="a bucket that can be named", fix="correct the AWS_ variables"
            ) from None

    def get(self, name: str) -> bytes | None:
        """Read an object."""
        import obstore

        try:
            return obstore.get(self._store, name).bytes().to_bytes()
        except FileNotFoundError:
            return None

    def get_many(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Read several objects at the same time."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return iter(list(pool.map(self.get, names)))

    def children(self, name: str) -> list[str]:
        """List what is below a name."""
        import obstore

        listed = obstore.list_with_delimiter(self._store, name or None)
        paths = [*listed["common_prefixes"], *(found["path"] for found in listed["objects"])]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        import obstore

        obstore.put(self._store, name, data)

    def delete(self, name: str) -> None:
        """Remove an object, and all below it."""
        import obstore

        below = [found["path"] for page in obstore.list(self._store, name) for found in page]
        obstore.delete(self._store, [*below, name])

    def sync(self, name: str) -> None:
        """Do nothing: what the server has taken is safe."""

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold an object that is made only if it is not there; that of a dead process of this machine is removed."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            obstore.put(self._store, name, Holder.this().to_bytes(), mode="create")
        except AlreadyExistsError:
            holder = Holder.parse(self.get(name) or b"")
            if holder is None or not holder.has_ended:
                fix = f"wait for it; if it has ended, remove {self.location}/{name}"
                raise busy(self.location, holder, fix) from None
            obstore.put(self._store, name, Holder.this().to_bytes())
        try:
            yield
        finally:
            obstore.delete(self._store, name)

    def zarr(self, *, read_only: bool) -> zarr.storage.ObjectStore[S3Store]:
        """Give the bucket to the Zarr library."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=read_only)


def _connect(location: str) -> S3Store:
    from obstore.store import S3Store

    parts = urlsplit(location)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        client_options={"allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(minutes=1)},
    )
