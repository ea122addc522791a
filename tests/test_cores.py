"""Threads: as many as the process has cores, and asleep while they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from conftest import moving_pattern, write_video

from geometrycrafter.cli.main import main
from geometrycrafter.cores import allowed_cores
from geometrycrafter.inference.workers import Model, Workers
from geometrycrafter.weights.places import EMBEDDED

CALL = "import sys; from geometrycrafter.cli.main import main; sys.exit(main())"


def test_a_quota_of_either_kind_bounds_the_cores(tmp_path):
    def cores(membership: str, **files: str) -> int:
        (tmp_path / "cgroup").write_text(membership)
        for name, text in files.items():
            file = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return allowed_cores(tmp_path / "cgroup", tmp_path, tmp_path)

    everything = cores("0::/nowhere\n")
    assert 1 <= everything == len(os.sched_getaffinity(0))
    assert cores("0::/a/b\n", a__b__cpu_DOT_max="max 100000\n") == everything
    # What is granted to a group bounds all that are in it; a part of a core is one thread.
    assert cores("0::/a/b\n", a__cpu_DOT_max="50000 100000\n") == 1
    first = {"cpu__x__cpu_DOT_cfs_period_us": "100000\n"}
    assert cores("3:cpu,cpuacct:/x\n", cpu__x__cpu_DOT_cfs_quota_us="-1\n", **first) == everything
    assert cores("3:cpu,cpuacct:/x\n", cpu__x__cpu_DOT_cfs_quota_us="100000\n", **first) == 1


def test_two_threads_of_one_core_are_one_core(tmp_path, monkeypatch):
    # A machine of two cores, each of which the system counts twice.
    for number in range(4):
        told = tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list"
        told.parent.mkdir(parents=True)
        told.write_text(f"{number % 2},{number % 2 + 2}\n")

    def cores(*affinity: int) -> int:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(affinity))
        return allowed_cores(tmp_path / "none", tmp_path, tmp_path)

    assert [cores(0, 1, 2, 3), cores(0, 2), cores(0, 1), cores(3)] == [2, 1, 2, 1]
    assert cores(0, 1, 2, 3, 9) == 3  # of which nothing is told


@pytest.mark.parametrize(
    "flags, variables, count, policy",
    [
        ([], {}, allowed_cores(), "PASSIVE"),
        (["--threads", "3"], {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}, 3, "ACTIVE"),
        ([], {"OMP_NUM_THREADS": "5"}, 5, "PASSIVE"),
    ],
)
def test_threads_are_as_told_and_sleep_while_they_wait(tmp_path, flags, variables, count, policy):
    write_video(tmp_path / "clip.mp4", moving_pattern(2, 64, 96))
    # The OpenMP library itself tells what it goes by, when it is loaded.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    environment = clean | variables | {"OMP_DISPLAY_ENV": "true"}
    command = [sys.executable, "-c", CALL, "run", "clip.mp4", "--dry-run", *flags]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    said = [line.strip().removeprefix("[host] ") for line in done.stderr.splitlines()]
    assert f"OMP_NUM_THREADS = '{count}'" in said and f"OMP_WAIT_POLICY = '{policy}'" in said, done.stderr
    assert not list(Path(tmp_path).glob("*.gc"))


@pytest.mark.parametrize("loaded", [True, False])
def test_a_program_that_calls_a_command_keeps_its_own_threads(loaded, tmp_path):
    write_video(tmp_path / "clip.mp4", moving_pattern(2, 64, 96))
    program = f"""
{"import torch; torch.set_num_threads(3)" if loaded else ""}
import os, warnings
from geometrycrafter.cli.main import main
shown = warnings.showwarning
assert main(["run", "clip.mp4", "--dry-run", "--threads", "1"]) == 0
import torch
print("then", torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"), warnings.showwarning is shown)"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    assert f"then {3 if loaded else allowed_cores()} None True" in done.stdout, done.stdout


@pytest.mark.parametrize("said,then", [("0", allowed_cores()), ("many", allowed_cores()), ("3,1", 3)])
def test_a_variable_that_says_no_number_of_threads_is_no_error(said, then):
    program = """
from geometrycrafter.cores import using_threads
with using_threads(1):
    import torch
print(torch.get_num_threads())"""
    command, environment = [sys.executable, "-c", program], os.environ | {"OMP_NUM_THREADS": said}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == then


def test_commands_that_overlap_in_threads_leave_their_program_as_it_was(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    began, gone, during = threading.Event(), threading.Event(), []
    threads, shown = torch.get_num_threads(), warnings.showwarning

    def first(args):
        began.set()
        gone.wait(10)

    def second(args):
        gone.set()
        one.join()
        during.append(torch.get_num_threads())

    torch.set_num_threads(3)
    monkeypatch.setattr("geometrycrafter.cli.run.call", lambda args: (first, second)[args.threads - 1](args))
    one, two = (threading.Thread(target=main, args=(["run", "x.mp4", "--threads", n],)) for n in "12")
    one.start()
    began.wait(10)
    two.start()
    two.join()
    during.append(torch.get_num_threads())
    torch.set_num_threads(threads)
    assert during == [2, 3] and warnings.showwarning is shown and "OMP_NUM_THREADS" not in os.environ


def test_threads_of_processes_that_share_a_clip_sleep_in_a_program_of_ones_own_too(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    workers = Workers(["cpu"], Model(EMBEDDED, "deterministic", "float32", False, None), 1)
    try:
        workers.start()
        environment = Path(f"/proc/{workers._workers[0].process.pid}/environ").read_bytes().split(b"\0")
    finally:
        workers.close()
    assert b"OMP_WAIT_POLICY=PASSIVE" in environment and "OMP_WAIT_POLICY" not in os.environ
