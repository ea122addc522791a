"""Files appear whole, and one process at a time writes a place."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from geometrycrafter import files
from geometrycrafter.errors import InputError, WriteError
from geometrycrafter.files import appearing, fingerprint, is_url, locked, natural, on_disk, sweep, write_json

HOLD = """
import sys, time
from pathlib import Path
from geometrycrafter.files import locked
with locked(Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds ``tmp_path / "place"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "place")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_and_told_who_holds_the_place(holder, tmp_path):
    with pytest.raises(InputError, match=f"process {holder.pid} on ") as caught, locked(tmp_path / "place", "a test"):
        pass
    assert "\n" not in str(caught.value)


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "place", "a test"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_in_a_folder_outlives_the_wait_for_the_disk(tmp_path):
    lock = files._acquire(tmp_path / ".lock")
    assert lock is not None
    (tmp_path / "content").write_text("content")
    files.settle(tmp_path)
    script = "import sys; from pathlib import Path; from geometrycrafter.files import _acquire; "
    script += "sys.exit(_acquire(Path(sys.argv[1])) is not None)"
    assert subprocess.run([sys.executable, "-c", script, tmp_path / ".lock"]).returncode == 0
    os.close(lock)


def test_a_second_thread_is_refused(tmp_path):
    refused = []

    def second() -> None:
        try:
            with locked(tmp_path / "place", "a test"):
                pass
        except InputError as error:
            refused.append(error)

    with locked(tmp_path / "place", "a test"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    with locked(tmp_path / "place", "a test"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_by_fork_does_not_keep_the_lock_of_a_dead_parent(tmp_path):
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom geometrycrafter.files import locked\n"
        "with locked(Path(sys.argv[1]), 'a test'):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        time.sleep(20)\n        os._exit(0)\n"
        "    print(child, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "place")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.wait()
    try:
        with locked(tmp_path / "place", "a test"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_many_processes_never_hold_a_place_together(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom geometrycrafter.files import locked\n"
        "from geometrycrafter.errors import InputError\n"
        "place, log = Path(sys.argv[1]), Path(sys.argv[2])\nend = time.time() + 2\n"
        "while time.time() < end:\n"
        "    try:\n"
        "        with locked(place, 'a test'):\n"
        "            with open(log, 'a') as f: f.write('+\\n')\n"
        "            with open(log, 'a') as f: f.write('-\\n')\n"
        "    except InputError:\n        pass\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "place"), str(tmp_path / "log")]
    processes = [subprocess.Popen(arguments) for _ in range(3)]
    assert [p.wait() for p in processes] == [0, 0, 0]
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) > 50 and lines == ["+", "-"] * (len(lines) // 2)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match="/proc/nowhere"), locked(tmp_path.__class__("/proc/nowhere"), "a test"):
        pass


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "a[1].json"
    write_json(target, 1)
    with pytest.raises(RuntimeError), appearing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "1\n" and list(tmp_path.iterdir()) == [target]


def temporary_of(target: Path, process: int, place: str) -> Path:
    """What a process leaves that is killed while it writes a target."""
    return target.with_name(f".{target.name}.{process}-{place}-00000000.tmp")


def test_what_a_dead_process_left_is_swept_and_a_living_ones_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    target = tmp_path / "x.json"
    left, living = (temporary_of(target, pid, files.machine()) for pid in (dead.pid, os.getppid()))
    left.touch()
    living.touch()
    write_json(target, {})
    assert sorted(tmp_path.iterdir()) == sorted([living, target])


WRITE = """
import sys
from pathlib import Path
from geometrycrafter.files import appearing
with appearing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read()
    temporary.write_text("whole")
"""
NEVER_HERE = 30000
"""The number of a process that runs nowhere but in a test's own namespace; or else the test is passed over."""
APART = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c"]
COUNTED = f'echo {NEVER_HERE - 1} > /proc/sys/kernel/ns_last_pid && "$0" "$@"; exit $?'


def apart() -> bool:
    """Whether a process can be started here that counts processes by itself, as in a container."""
    try:
        return subprocess.run([*APART, COUNTED, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not apart(), reason="needs the right to make a namespace")
def test_what_a_living_process_of_another_container_writes_is_left_alone(tmp_path):
    target = tmp_path / "x.txt"
    command = [*APART, COUNTED, sys.executable, "-c", WRITE, str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    if files.alive(NEVER_HERE) or f".{NEVER_HERE}-" not in name:
        process.communicate("")
        pytest.skip("the number is taken here")
    sweep(target)
    assert (tmp_path / name).exists()
    process.communicate("")
    assert process.returncode == 0 and [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.txt", "whole")]


@pytest.mark.parametrize("place", ["another host", "another start", "none"])
def test_what_another_machine_writes_is_left_alone_until_it_is_old(tmp_path, monkeypatch, place):
    target = tmp_path / "x.gc"
    with monkeypatch.context() as elsewhere:
        if place == "another host":
            elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        name = files.machine()
    name = {"another host": name, "another start": "0" * 8}.get(place)
    never_here = 2**22 + 1  # larger than any process's number
    folder = target.with_name(f".x.gc.{never_here}-{name}-00000000.tmp" if name else f".x.gc.{never_here}-00000000.tmp")
    (folder / "depth").mkdir(parents=True)
    (folder / "depth" / "0").write_text("half")
    week = time.time() - 7 * 24 * 3600
    os.utime(folder, (week, week))  # it was made a week ago, and is written to this day
    sweep(target)
    assert (folder / "depth" / "0").exists()
    for path in (folder / "depth" / "0", folder / "depth", folder):
        os.utime(path, (week, week))
    sweep(target)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="its locks are others")
def test_where_a_disk_has_no_locks_that_of_another_machine_is_named(tmp_path, monkeypatch):
    import fcntl

    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    lock = tmp_path / ".place.lock"
    about = {"pid": 2**22 + 1, "host": "elsewhere", "machine": "0" * 8, "since": 0}
    for held in (about, about | {"host": socket.gethostname()}, about | {"since": "x", "program": 3}):
        lock.write_text(json.dumps(held))
        with pytest.raises(InputError, match=rf"\.place\.lock: process {2**22 + 1} on .*remove the file"):
            locked(tmp_path / "place", "a test").__enter__()
    for left in (
        about | {"machine": files.machine()},
        {"pid": "x"},
        [],
        about | {"machine": files.machine(), "pid": -1},
    ):
        lock.write_text(json.dumps(left))
        with locked(tmp_path / "place", "a test"):
            pass
    lock.write_text(json.dumps(about | {"machine": files.machine(), "pid": os.getppid()}))
    with pytest.raises(InputError, match="wait for it"), locked(tmp_path / "place", "a test"):
        pass


def test_a_fingerprint_sees_a_change_anywhere_in_a_large_file(tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(200 * 2**20)
    before = fingerprint(path)
    with open(path, "r+b") as file:
        file.seek(100 * 2**20)
        file.write(b"\1" * 4 * 2**20)
    assert fingerprint(path) != before
    started = time.perf_counter()
    fingerprint(path)
    assert time.perf_counter() - started < 2


def test_names_with_numbers_are_sorted_by_number():
    assert sorted(["f10.png", "f2.png", "f²1.png", "1", "a"], key=natural) == ["1", "a", "f2.png", "f10.png", "f²1.png"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, at_once):
    if not at_once:  # as where the system can't exchange names
        monkeypatch.setattr(files, "_exchanged", lambda new, target: False)
    target = tmp_path / "target"
    for text in ("old", "new"):
        with appearing(target) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [p.name for p in target.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["target"]
    with pytest.raises(ZeroDivisionError), appearing(target) as temporary:
        temporary.mkdir()
        raise ZeroDivisionError
    assert [p.name for p in target.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_folder_that_was_set_aside_when_its_process_was_killed_comes_back(tmp_path):
    (tmp_path / ".target.aside").mkdir()
    (tmp_path / ".target.aside" / "old").write_text("old")
    sweep(tmp_path / "target")
    assert [p.name for p in (tmp_path / "target").iterdir()] == ["old"]


@pytest.mark.parametrize("name", ["x" * 250 + ".gc", "動" * 83 + ".gc"])
def test_long_names_have_temporary_files_and_locks(tmp_path, name):
    stale = tmp_path / f"{files._hidden(name)}.{2**22 + 1}-{files.machine()}-00000000.tmp"  # its process is no more
    stale.write_text("")
    with locked(tmp_path / name, "a test"):
        write_json(tmp_path / name, 1)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("url", ["s3://b/x", "https://a.b/c", "memory://x", "simplecache::s3://b/x", "s3:/b/x"])
def test_a_url_is_no_place_on_disk(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="local disk"):
        on_disk(url)


@pytest.mark.parametrize("name", ["a", "/a/b", "10:30.mp4", "2024-01-01T10:00:00/x", "C:/x", "a:b//c", ""])
def test_names_with_colons_are_on_disk(name):
    assert not is_url(name) and on_disk(name) == Path(name)


def test_a_file_url_is_a_path(tmp_path):
    assert on_disk(f"file://{tmp_path}/a%20b") == tmp_path / "a b" and not is_url("file:///a")


def test_a_link_to_a_place_is_the_same_place(tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "place")
    with (
        locked(tmp_path / "place", "a test"),
        pytest.raises(InputError, match="another thread"),
        locked(tmp_path / "elsewhere" / "link", "a test"),
    ):
        pass
