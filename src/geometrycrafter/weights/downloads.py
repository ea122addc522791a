"""Published weights from their host: the files that are needed, resumed, and checked before they are in place.

<cache>/GeometryCrafter/unet_diff/...     a file is there once its size and hash are the host's
<cache>/GeometryCrafter/download.json     what was downloaded, of which commit, with sizes and hashes
<cache>/.downloads/GeometryCrafter/...    what is under way, by its hash; another try goes on from it

The client is huggingface_hub (the extra ``download``), which minds HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and HF_TOKEN.
It tells what there is, where, and by which right; the bytes are kept here, since it throws away what a broken
connection leaves.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError, WriteError, how_to_install, reason
from geometrycrafter.files import MEBIBYTE, appearing, locked, remove, second_name, write_json
from geometrycrafter.weights.places import UNDER_WAY, PublishedRepository, cache_folder

RECORD = "download.json"
TRIES = 3
"""Of a file whose connection breaks."""
NAME = re.compile(r"(\w[\w.-]{0,99}/)*\w[\w.-]{0,99}", re.ASCII)
"""Of a file in a repository: nothing that leads out of it, or that a terminal would take for an order."""
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
INSTALL = f"models download wants the client of the weights' host; {how_to_install('download')}."

Progress = Callable[[str, int, int | None], None]
"""(file, megabytes that are there, megabytes in all)."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, as its host tells of it."""

    name: str
    size: int
    hash: str
    """sha256 of large files, git's own digest of small ones."""

    def matches(self, path: Path) -> bool:
        """Whether a file has this size and content."""
        return path.is_file() and path.stat().st_size == self.size and digest(path, self.hash) == self.hash

    def part(self, under_way: Path) -> Path:
        """Where it is until it is whole: what came of another content is no beginning of this one."""
        return under_way / f"{self.name}.{self.hash[:16]}"


@dataclass(frozen=True)
class Listing:
    """What is needed of a repository."""

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


def digest(path: Path, like: str) -> str:
    """sha256 of a file, or git's digest where that is meant by its length."""
    small = len(like) == 40
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()) if small else hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 * MEBIBYTE):
            found.update(block)
    return found.hexdigest()


def download(published: PublishedRepository, patterns: tuple[str, ...], progress: Progress) -> Path:
    """Fetch files of a repository into the place where models are looked for; what is there and whole stays.

    Args:
        published: the repository.
        patterns: of the files that are needed.
        progress: called with a file's name and megabytes.

    Returns:
        the folder.

    Raises:
        InputError: where the client is missing, the host can't be reached or refuses, or a file is not what it should
            be; what was downloaded stays, and another call goes on from it.
        WriteError: where the disk refuses.
    """
    hub = _client()
    folder = cache_folder() / published.folder
    if hub.constants.HF_HUB_OFFLINE:
        return _from_host_cache(hub, published, patterns, folder)
    with _told(hub, published):
        listing = _listing(hub, published, patterns)
    under_way = cache_folder() / UNDER_WAY / published.folder
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "a download"):
        with _written(under_way):
            under_way.mkdir(parents=True, exist_ok=True)
        wanted = [file for file in listing.files if not file.matches(folder / file.name)]
        _check_room(under_way, wanted)
        for file in wanted:
            part = file.part(under_way)
            if not _from_cache(hub, published, listing.commit, file, part):
                _fetch(hub, published, listing.commit, file, part, progress)
            with _written(folder):
                (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, folder / file.name)
        with _written(folder):
            _keep_record(folder, published, listing)
            remove(under_way)
            with contextlib.suppress(OSError):
                under_way.parent.rmdir()
    return folder


def _client() -> Any:
    """The host's client.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils
    except ImportError as error:
        raise InputError(INSTALL) from error
    except ValueError as error:  # it reads its variables when it is imported
        raise InputError(
            f"a variable HF_... is none that the host's client takes ({reason(error)}); unset it."
        ) from error
    with contextlib.suppress(Exception):
        huggingface_hub.utils.disable_progress_bars()  # the command has its own
    return huggingface_hub


def _listing(hub: Any, published: PublishedRepository, patterns: tuple[str, ...]) -> Listing:
    """What there is of the files that are needed.

    Raises:
        InputError: where the host names none, or one that can't be one.
    """
    told = hub.HfApi().model_info(published.repository, files_metadata=True)
    files = []
    for entry in told.siblings or ():
        if any(fnmatchcase(entry.rfilename, pattern) for pattern in patterns):
            large = entry.lfs
            found = (large["sha256"] if isinstance(large, dict) else large.sha256) if large else entry.blob_id
            file = RemoteFile(entry.rfilename, int(entry.size), str(found))
            if not (NAME.fullmatch(file.name) and HASH.fullmatch(file.hash)):
                raise InputError(f"{published.repository}: the host names a file {file.name!a}; check HF_ENDPOINT.")
            files.append(file)
    missing = [p for p in patterns if not any(fnmatchcase(file.name, p) for file in files)]
    if missing:
        raise InputError(f"{published.repository}: the host has no {missing[0]} there; update geometrycrafter.")
    return Listing(str(told.sha), tuple(files))


def _fetch(
    hub: Any, published: PublishedRepository, commit: str, file: RemoteFile, part: Path, progress: Progress
) -> None:
    """Bytes of a file to a place, after those that are there; then they are compared with the host's hash."""
    with _written(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    for again in range(TRIES):
        try:
            with _told(hub, published), _Part(part, file, progress) as target:
                if target.at < file.size:
                    url = hub.hf_hub_url(published.repository, file.name, revision=commit)
                    how = {"headers": hub.utils.build_hf_headers(), "expected_size": file.size}
                    hub.file_download.http_get(url, target, resume_size=target.at, **how)
            break
        except BrokenError:
            if again == TRIES - 1:
                raise
    if not file.matches(part):
        part.unlink()
        raise InputError(
            f"{published.repository}: {file.name} arrived with another content than the host says (its hash differs), "
            "and was removed; give the command again."
        )


class BrokenError(InputError):
    """A connection that broke, or could not be made."""


class _Part:
    """What there is of a file that is under way: what the client writes into.

    Args:
        path: of it.
        file: that it becomes.
        progress: told of what is there.
    """

    def __init__(self, path: Path, file: RemoteFile, progress: Progress):
        self.path, self.file, self.progress = path, file, progress
        with _written(path):
            self._stream = open(path, "ab")  # noqa: SIM115 (closed with the block)
            self.at = self.sure = self._stream.seek(0, os.SEEK_END)
            if self.at > file.size:
                self.truncate(0)

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with _written(self.path):
            if kind is OSError:  # an answer that ended well, and had another length: a page to log in, say
                self.truncate(self.sure)
            self._stream.close()

    def write(self, block: bytes) -> int:
        """Add bytes.

        Raises:
            OSError: where the file has no more.
        """
        if self.at + len(block) > self.file.size:
            raise OSError(f"{self.file.name}: more bytes come than the {self.file.size:,} that it has")
        with _written(self.path):
            count = self._stream.write(block)
        self.at += count
        self.progress(self.file.name, self.at // 10**6, -(-self.file.size // 10**6))
        return count

    def tell(self) -> int:
        """Bytes that are there."""
        return self.at

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place: a file that grows at its end is only ever gone back to where :meth:`truncate` cuts it."""
        self.at = self._stream.seek(place, whence)
        return self.at

    def truncate(self, size: int | None = None) -> int:
        """Cut it."""
        self._stream.truncate(self.at if size is None else size)
        self.at = self._stream.seek(0, os.SEEK_END)
        self.sure = min(self.sure, self.at)
        return self.at


def _from_cache(hub: Any, published: PublishedRepository, commit: str, file: RemoteFile, part: Path) -> bool:
    """Take a file that the client's own cache has, where that is whole."""
    found = hub.try_to_load_from_cache(published.repository, file.name, revision=commit)
    if not isinstance(found, str) or not file.matches(Path(found)):
        return False
    with _written(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        second_name(Path(os.path.realpath(found)), part)
    return True


def _from_host_cache(hub: Any, published: PublishedRepository, patterns: tuple[str, ...], folder: Path) -> Path:
    """All files out of the client's own cache: the machine is offline."""
    try:
        cached = Path(hub.snapshot_download(published.repository, local_files_only=True))
        found = {
            name: path
            for path in cached.rglob("*")
            if path.is_file() and any(fnmatchcase(name := path.relative_to(cached).as_posix(), p) for p in patterns)
        }
    except (OSError, ValueError):  # the client's own way to say that there is none
        found = {}
    missing = [p for p in patterns if not any(fnmatchcase(name, p) for name in found)]
    if missing and all(any(folder.glob(pattern)) for pattern in patterns):
        return folder
    if missing:
        raise InputError(
            f"{published.repository}: HF_HUB_OFFLINE is set, and the host's cache on this machine lacks {missing[0]}; "
            "unset it, or set HF_HOME to the cache that has it."
        )
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "a download"), _written(folder):
        for name, path in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if _size(folder / name) != path.stat().st_size:  # a copy that was cut short, too
                with appearing(folder / name) as temporary:
                    second_name(Path(os.path.realpath(path)), temporary)
    return folder


def _check_room(place: Path, wanted: list[RemoteFile]) -> None:
    needed = sum(file.size - _size(file.part(place)) for file in wanted)
    with _written(place):
        free = shutil.disk_usage(place).free
    if needed > free:
        raise WriteError(
            f"{place}: {needed / 1e9:.1f} GB are to come and {free / 1e9:.1f} GB are free; make room, or set "
            "GEOMETRYCRAFTER_HOME to a folder on another disk."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _keep_record(folder: Path, published: PublishedRepository, listing: Listing) -> None:
    before = read_record(folder).get("files", {})
    files = {file.name: {"size": file.size, "hash": file.hash} for file in listing.files}
    write_json(folder / RECORD, {"repository": published.repository, "commit": listing.commit, "files": before | files})


def read_record(folder: Path) -> dict[str, Any]:
    """What a download has left in a folder; empty where none has."""
    try:
        found = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


@contextlib.contextmanager
def _written(place: Path) -> Iterator[None]:
    """Turn what the disk says into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        remedy = "make room, and give the command again: it goes on from here" if full else "choose another place"
        raise WriteError(f"{place}: writing failed ({reason(error)}); {remedy}.") from error


@contextlib.contextmanager
def _told(hub: Any, published: PublishedRepository) -> Iterator[None]:
    """Turn what the client raises into a sentence that says what to do."""
    name, errors = published.repository, hub.errors
    endpoint = hub.constants.ENDPOINT
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{name}: its licence has to be accepted first, at {endpoint}/{name}; then set HF_TOKEN to a token of "
            "that account."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{name}: {endpoint} has no such repository for you; check HF_ENDPOINT and HF_TOKEN."
        ) from error
    except errors.HfHubHTTPError as error:
        raise BrokenError(f"{name}: {endpoint} refuses ({reason(error)}); try again later.") from error
    except Exception as error:  # of the network library that the client happens to use, and its own
        raise BrokenError(
            f"{name}: the connection to {endpoint} failed ({reason(error)}); give the command again, it goes on from "
            "what is there."
        ) from error
