"""Threads: as many as the process has cores, and asleep while they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import moving_pattern, write_video

from geometrycrafter.cores import allowed_cores

CALL = "import sys; from geometrycrafter.cli.main import main; sys.exit(main())"


def test_a_quota_of_either_kind_bounds_the_cores(tmp_path):
    def cores(membership: str, **files: str) -> int:
        (tmp_path / "cgroup").write_text(membership)
        for name, text in files.items():
            file = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return allowed_cores(tmp_path / "cgroup", tmp_path)

    everything = cores("0::/nowhere\n")
    assert 1 <= everything == len(os.sched_getaffinity(0))
    assert cores("0::/a/b\n", a__b__cpu_DOT_max="max 100000\n") == everything
    # What is granted to a group bounds all that are in it; a part of a core is one thread.
    assert cores("0::/a/b\n", a__cpu_DOT_max="50000 100000\n") == 1
    first = {"cpu__x__cpu_DOT_cfs_period_us": "100000\n"}
    assert cores("3:cpu,cpuacct:/x\n", cpu__x__cpu_DOT_cfs_quota_us="-1\n", **first) == everything
    assert cores("3:cpu,cpuacct:/x\n", cpu__x__cpu_DOT_cfs_quota_us="100000\n", **first) == 1


@pytest.mark.parametrize(
    "flags, variables, count, policy",
    [
        ([], {}, len(os.sched_getaffinity(0)), "PASSIVE"),
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
