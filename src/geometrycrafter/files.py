"""Files and folders that several processes may want at once: whole or not at all, and one writer at a time."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from geometrycrafter.errors import InputError, WriteError, reason

MEBIBYTE = 2**20
BLOCKS = 64
WHOLE = BLOCKS * MEBIBYTE
"""Files up to this size are read whole for their fingerprint; of larger ones 64 blocks of a MiB, evenly spread."""
LONGEST_NAME = 180
"""Bytes of a target's name that its temporary and lock files carry; file systems allow 255 in all."""
WITHIN = ".lock"
"""The lock file of a folder in it, where its parent can't be written."""
WRITERS = 16
"""Files that the disk is asked to have at a time."""
STREAM = "-"
"""What stands for standard input or output where a command takes one."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z][A-Za-z0-9+.-]+)*://")
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-((?P<machine>[0-9a-f]{8})-)?[0-9a-f]{8}\.tmp")
ABANDONED = 24 * 3600
"""Seconds without a change after which a temporary file that another machine made is nobody's."""


def natural(path: str | os.PathLike[str]) -> list[tuple[int, int | str]]:
    """Sort key that counts: frame2 before frame10."""
    parts = re.split(r"(\d+)", os.fspath(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is a URL of something that is not on disk: ``file://`` is, and so is a name with a colon."""
    text = os.fspath(place)
    return URL.match(text) is not None and not text.lower().startswith("file://")


def check_named(place: str | os.PathLike[str]) -> None:
    """See that something is named: an empty text, as of a shell's variable that is not set, would be this folder.

    Raises:
        InputError: where it is empty.
    """
    if not os.fspath(place):
        raise InputError("'': this name is empty; give one (. is the current folder).")


def on_disk(place: str | os.PathLike[str], what: str = "this") -> Path:
    """A place as a path of this machine's disk.

    Args:
        place: a path, or a ``file://`` URL.
        what: is meant to be there, for the message: "the scene".

    Raises:
        InputError: for any other URL, whole or as ``pathlib`` leaves it (``s3:/bucket/name``), a name with a NUL, and
            the text ``-``, which shells take for standard input or output (a ``Path`` is a file's name).
    """
    text = os.fspath(place)
    if isinstance(place, str) and text == STREAM:
        raise InputError(
            f"-: {what} can't be standard input or output; name a file or folder, as ./- if it is called so."
        )
    if "\0" in text:
        raise InputError(f"{text!r}: no file can be called so; choose another name.")
    if text.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    if is_url(text) or (re.match(r"[a-z][a-z0-9+.-]+:/", text) and not Path(text.split("/")[0]).is_dir()):
        raise InputError(f"{text}: {what} must be on a local disk; copy it there, or give another path.")
    return Path(text)


def fingerprint(path: str | os.PathLike[str], most: int = WHOLE) -> str:
    """A digest of a file's size and content: all of it where it is small, else 64 blocks spread over it.

    Args:
        path: of the file.
        most: bytes that are read.

    Raises:
        InputError: where the file can't be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            block = most // BLOCKS
            whole = range(0, size, MEBIBYTE), MEBIBYTE
            spread = [(size - block) * i // (BLOCKS - 1) for i in range(BLOCKS)], block
            starts, length = whole if size <= most else spread
            for start in starts:
                file.seek(start)
                digest.update(file.read(length))
    except OSError as error:
        raise InputError(f"{path}: the file can't be read ({reason(error)}).") from error
    return digest.hexdigest()


@contextlib.contextmanager
def explained(place: str | os.PathLike[str], remedy: str = "choose another place") -> Iterator[None]:
    """Turn what the system says of a write into a sentence about the place.

    Raises:
        WriteError: for every ``OSError`` of the block.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"{os.fspath(place)}: writing failed ({reason(error)}); {remedy}.") from error


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A temporary path beside a file or folder, which takes its place when the block ends and goes when it fails.

    The name is this process's own, so that two processes never write into one file; what a killed process left
    there is removed by the next one that writes the same target.
    """
    sweep(target)
    temporary = target.with_name(f"{_hidden(target.name)}.{os.getpid()}-{machine()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        put_in_place(temporary, target)
    except BaseException:
        remove(temporary)
        raise


def put_in_place(new: Path, target: Path) -> None:
    """Give a finished file or folder the name of another, which goes: there is always the one or the other.

    A folder can't be renamed over another, so the two change names where the system can do that at once. Elsewhere
    the old one is set aside for a moment; :func:`sweep` brings it back where the process was killed in it.
    """
    if not (new.is_dir() and target.is_dir()) or target.is_symlink():
        os.replace(new, target)
        _synced(target.parent)
        return
    if _exchanged(new, target):
        _synced(target.parent)
        remove(new)
        return
    aside = _aside(target)
    remove(aside)
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _synced(target.parent)
    remove(aside)


def _exchanged(new: Path, target: Path) -> bool:
    """Whether two paths have changed their names at once; Linux does it on most file systems."""
    at_working_directory, exchange = -100, 2
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    paths = (at_working_directory, os.fsencode(new), at_working_directory, os.fsencode(target))
    return bool(rename(*paths, ctypes.c_uint(exchange)) == 0)


def settle(folder: Path, without: str | None = None) -> None:
    """Wait until the disk has all that is in a folder, so that a power cut takes none of it.

    Several files at a time: disks write many in one go, and one after the other takes ten times as long. A lock in the
    folder is left alone: to close its file is to lose it.

    Args:
        folder: with all below it.
        without: a name in it that is passed over.

    Raises:
        OSError: where the disk refuses.
    """
    files: list[Path] = []
    folders: list[Path] = []
    for place, names, found in os.walk(folder):
        if Path(place) == folder and without in names:
            names.remove(without)
        folders.append(Path(place))
        files.extend(Path(place, name) for name in found if name != WITHIN)
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(_synced, files))
        list(pool.map(_synced, folders))


def _synced(path: Path) -> None:
    """Wait until the disk has a file's content, or the names in a folder; not every system can do the latter."""
    if sys.platform == "win32" and path.is_dir():
        return
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(file)


def beside(target: Path, ending: str) -> Path:
    """A hidden place beside a file or folder, ``.NAME.ENDING``."""
    return target.parent / f"{_hidden(target.name)}.{ending}"


def _aside(target: Path) -> Path:
    return beside(target, "aside")


def _hidden(name: str) -> str:
    """How the temporary names of a target begin: a long one is cut and told apart by its digest."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return f".{name}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{os.fsencode(name)[: LONGEST_NAME // 2].decode(errors='ignore')}-{digest}"


def sweep(target: Path) -> None:
    """Remove the temporary files of a target whose processes are gone; those of others stay.

    A number tells a process only where it was given: in another container, or on another machine that shares the
    folder, a file is left alone until nothing in it has changed for a day.
    """
    _sweep(target.parent, _hidden(target.name)[1:])
    aside = _aside(target)
    if aside.exists():
        with contextlib.suppress(OSError):
            remove(aside) if target.exists() else aside.rename(target)


def sweep_folder(folder: Path) -> None:
    """Remove what processes that are gone have left unfinished in a folder, whatever its target was."""
    _sweep(folder, None)


def _sweep(folder: Path, name: str | None) -> None:
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.tmp"):
            found = TEMPORARY.fullmatch(path.name)
            if found and name in (None, found["name"]):
                with contextlib.suppress(OSError):
                    here = found["machine"] == machine()
                    if not alive(int(found["pid"])) if here else _idle(path) > ABANDONED:
                        remove(path)


def _idle(path: Path) -> float:
    """Seconds since a file, or anything in a folder, last changed."""
    within = [Path(place, name) for place, names, files in os.walk(path) for name in (*names, *files)]
    return time.time() - max(place.lstat().st_mtime for place in (path, *within))


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def second_name(path: Path, other: Path) -> None:
    """Give a file a second name, or a copy where the disk has no such thing (exFAT, many network disks)."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a file that appears whole, and stays after a power cut."""
    with appearing(target) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(target: Path, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON; the file appears whole."""
    write_bytes(target, (json.dumps(value, indent=indent) + "\n").encode())


def machine() -> str:
    """Where numbers of processes mean what they do here: this start of this machine, and the container if in one."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # both are Linux's
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (it is no path)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def alive(pid: int) -> bool:
    """Whether a process with this number runs here; see :func:`machine`."""
    if not 0 < pid < 2**31:
        return False
    if sys.platform == "win32":  # there, signal 0 would end it; its lock is released with it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


_HELD: set[str] = set()
_GUARD = threading.Lock()


@contextlib.contextmanager
def locked(place: Path, what: str) -> Iterator[None]:
    """Hold a folder or file for writing, against other processes and threads.

    The lock is the system's own, on ``.NAME.lock`` beside the place (``.lock`` in a folder whose parent can't be
    written). It goes with the process that holds it, however that ends, and a copy of the process made by ``fork`` has
    no part in it.

    Args:
        place: what is written.
        what: what is done there, for the message to who comes second: "a run".

    Raises:
        InputError: where another process or thread holds the place; says which.
        WriteError: where no lock file can be made there.
    """
    real = Path(os.path.realpath(place))  # a link to a place is that place
    key = os.fspath(real)
    with _GUARD:
        if key in _HELD:
            raise InputError(f"{place}: another thread of this process is writing there ({what}); wait for it.")
        _HELD.add(key)
    try:
        with explained(place):
            path, file = _acquire_for(real)
        if file is None:
            raise InputError(f"{place}: {_holder(path)} is writing there; wait for it, or choose another place.")
        try:
            yield
        finally:
            # Removed while it is held: whoever waits for this file finds that it is no longer the one of that name.
            if sys.platform != "win32":
                path.unlink(missing_ok=True)
            os.close(file)
            if sys.platform == "win32":
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
    finally:
        with _GUARD:
            _HELD.discard(key)


def _acquire_for(real: Path) -> tuple[Path, int | None]:
    """The lock file of a place, and its descriptor if it is ours now.

    It is beside the place, which a finished folder may yet take; in a folder whose parent can't be written, in it.
    """
    within = real / WITHIN
    path = beside(real, "lock") if real.name else within
    try:
        return path, _acquire(path)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or path == within or not real.is_dir():
            raise
    return within, _acquire(within)


def _acquire(path: Path) -> int | None:
    """A descriptor of the lock file, locked; None where somebody else has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file, path):
                os.close(file)
                return None
            if sys.platform == "win32" or (path.exists() and os.path.samestat(os.fstat(file), path.stat())):
                about = {"pid": os.getpid(), "host": socket.gethostname(), "machine": machine()}
                about |= {"program": " ".join(sys.argv[:2])}
                os.ftruncate(file, 0)
                os.write(file, json.dumps(about | {"since": time.time()}).encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder removed it between our opening and locking it


def _lock(file: int, path: Path) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 2**30, os.SEEK_SET)  # beyond what is written, which others may read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            # A file system without locks: what the file says of its holder must do.
            about = _about(path)
            if about and about.get("machine") != machine():
                holder = _holder(path).rstrip(",")
                raise InputError(
                    f"{path}: {holder}, holds this lock; wait for it, or remove the file if it runs no more."
                ) from error
            return not about or not alive(about["pid"])
        raise
    return True


def _about(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    known = isinstance(found, dict) and isinstance(found.get("pid"), int)
    return found if known else {}


def _holder(path: Path) -> str:
    about = _about(path)
    if not about:
        return "another process"
    program = f" ({about['program']})" if about.get("program") else ""
    since = about.get("since")
    when = time.strftime("%H:%M:%S", time.localtime(since)) if isinstance(since, int | float) else "an unknown time"
    return f"process {about['pid']} on {about.get('host', 'this machine')}{program}, since {when},"
