"""Shards outlive missing files, killed writers and second ones; what made them is known."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.cli.main import main
from geometrycrafter.data import preparation
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.layouts import split_at_gaps
from geometrycrafter.data.options import PreparationOptions, SynthesisOptions
from geometrycrafter.data.preparation import prepare
from geometrycrafter.data.segments import Segment
from geometrycrafter.data.shards import Shards, ShardWriter
from geometrycrafter.data.shards.catalogue import Catalogue
from geometrycrafter.data.shards.index import entry_of, read_index
from geometrycrafter.data.synthesis import rendered, synthesize
from geometrycrafter.data.workers import in_order
from geometrycrafter.errors import InputError

CLIPS = {f"clip{i}": rendered(30 + i, 1, 32, 48) for i in range(5)}


def filled(folder, keys, **options):
    """A folder of shards, one clip each."""
    with ShardWriter(folder, shard_bytes=1, **options) as writer:
        for key in keys:
            writer.add(key, CLIPS[key])
    return folder


def held(folder):
    """The keys of the clips that a folder gives back as they were."""
    shards = Shards(folder)
    for i, entry in enumerate(shards.clips):
        np.testing.assert_allclose(shards.read(i).depth, CLIPS[entry.key].depth, rtol=2e-4)
    return {entry.key for entry in shards.clips}


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_shard_costs_no_other_shard(gone, tmp_path):
    filled(tmp_path, ["clip0", "clip1", "clip2"])
    for path in tmp_path.glob(f"clips-{gone:06d}.*"):
        path.unlink()
    filled(tmp_path, ["clip3", "clip4"])
    assert held(tmp_path) == {"clip0", "clip1", "clip2", "clip3", "clip4"} - {f"clip{gone}"}


def test_a_tar_whose_index_was_not_written_is_kept(tmp_path):
    filled(tmp_path, ["clip0", "clip1"])
    (tmp_path / "clips-000001.json").unlink()  # killed between the two
    with ShardWriter(tmp_path) as writer:
        assert set(writer.clips) == {"clip0", "clip1"}
        writer.add("clip2", CLIPS["clip2"])
    assert held(tmp_path) == {"clip0", "clip1", "clip2"}


def test_shards_may_be_numbered_anew(tmp_path):
    filled(tmp_path, ["clip0", "clip1", "clip2"])
    for path in tmp_path.glob("clips-000000.*"):
        path.unlink()
    for path in sorted(tmp_path.glob("clips-*")):
        path.rename(tmp_path / path.name.replace("00001", "00000").replace("00002", "00001"))
    filled(tmp_path, ["clip3"])
    assert held(tmp_path) == {"clip1", "clip2", "clip3"}


HOLDS = """
import sys, time
from geometrycrafter.data.shards import ShardWriter
from geometrycrafter.data.synthesis import rendered
with ShardWriter(sys.argv[1]) as writer:
    writer.add("clip0", rendered(30, 1, 32, 48))
    print("added", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_a_dead_ones_clips_are_taken_over(tmp_path):
    folder = tmp_path / "s"
    first = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "added\n"
        with pytest.raises(InputError, match=rf"process {first.pid}\b"), ShardWriter(folder) as writer:
            writer.add("clip1", CLIPS["clip1"])
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with ShardWriter(folder) as writer:
        assert set(writer.clips) == {"clip0"}
        writer.add("clip1", CLIPS["clip1"])
    assert held(folder) == {"clip0", "clip1"}
    assert not list(folder.glob(".*"))


def test_what_was_added_before_an_error_is_kept(tmp_path):
    with pytest.raises(InputError, match="name is taken"), ShardWriter(tmp_path) as writer:
        writer.add("clip0", CLIPS["clip0"])
        writer.add("clip0", CLIPS["clip1"])
    assert held(tmp_path) == {"clip0"}


def test_reading_opens_nothing_for_writing(tmp_path):
    filled(tmp_path, ["clip0", "clip1"])
    look = """
import os, sys
folder, written = sys.argv[1], []
def audit(event, args):
    if event == "open" and str(args[0]).startswith(folder) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(args[0])
    elif event in ("os.rename", "os.remove", "os.mkdir") and str(args[0]).startswith(folder):
        written.append(args[0])
from geometrycrafter.data.shards import Shards
sys.addaudithook(audit)
shards = Shards(folder)
print(len(shards), [len(shards.read(i)) for i in range(2)], written)
"""
    said = subprocess.run([sys.executable, "-c", look, str(tmp_path)], capture_output=True, text=True, check=True)
    assert said.stdout == "2 [1, 1] []\n"


def test_an_index_of_another_version_is_named_as_such(tmp_path):
    filled(tmp_path, ["clip0"])
    index = tmp_path / "clips-000000.json"
    index.write_text(index.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(InputError, match="another version"):
        Shards(tmp_path)
    index.write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        Shards(tmp_path)


# What an index takes -------------------------------------------------------------------------------------------------


def entries_of(rng, count, longest, single=False):
    """Entries as writers make them, of random lengths."""
    entries, offset = [], 0
    for i in range(count):
        length = 1 if single else int(rng.integers(1, longest + 1))
        key, kinds = (
            f"scene_{i:05d}-{rng.integers(10**6):06d}",
            ["jpg", "depth"] + ["dynamic"] * bool(rng.random() < 0.3),
        )
        offset += 1024 + 512 * int(rng.integers(1, 40))
        places = {kind: [] for kind in kinds}
        for _ in range(length):
            for kind in kinds:
                size = int(rng.integers(1, 90_000))
                places[kind].append([offset, size])
                offset += 512 + -(-size // 512) * 512
        still = np.broadcast_to(rng.uniform(1, 900, (1, 3, 3)), (length, 3, 3))
        poses = np.concatenate([rng.normal(size=(length, 3, 4)), np.broadcast_to([[[0, 0, 0, 1]]], (length, 1, 4))], 1)
        about = {
            "near": float(np.float32(rng.uniform(0.1, 2))),
            "far": float(np.float32(rng.uniform(3, 900))),
            "height": 320,
            "width": 640,
            "intrinsics": (still if rng.random() < 0.7 else rng.uniform(1, 900, (length, 3, 3))).astype("f4").tolist(),
            "poses": None if rng.random() < 0.2 else poses.astype("f4").tolist(),
            "sky": bool(rng.random() < 0.5),
            "fps": 24.0,
            "source": f"a-set {key}",
            "licence": "none",
        }
        if rng.random() < 0.1:
            about["stretch"] = [key, 1, 3]
        entries.append(entry_of(key, "clips-000000.tar", about, places))
    return entries


def odd(entry, way):
    """An entry that no writer made."""
    changed = {
        0: {"frames": [[entry.frames[0][0] + 1, entry.frames[0][1]], *entry.frames[1:]]},
        1: {"meta": entry.meta | {"poses": [[[1.0] * 4] * 4] * len(entry)}},
        2: {"meta": entry.meta | {"intrinsics": [[[0.1] * 3] * 3] * len(entry)}},  # more digits than shards have
        3: {"near": 1},
        4: {"depth": [*entry.depth, [1, 2]]},
        5: {"meta": {}},
        6: {"height": "320"},
        7: {"frames": [], "depth": []},
    }
    return replace(entry, **changed[way])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 5), max_size=4),
    st.dictionaries(st.integers(0, 19), st.integers(0, 7), max_size=3),
)
def test_a_catalogue_holds_what_the_indices_say(seed, counts, strange):
    rng = np.random.default_rng(seed)
    shards = [entries_of(rng, count, 7) for count in counts]
    whole = [e for shard in shards for e in shard]
    for at, way in strange.items():
        if at < len(whole):
            whole[at] = odd(whole[at], way)
    ends = np.cumsum([0, *counts])
    shards = [[replace(e, shard=f"s{i}.tar") for e in whole[a:b]] for i, (a, b) in enumerate(pairwise(ends))]
    wanted = [e for shard in shards for e in shard]
    held = Catalogue(iter(shards))
    for same in (held, pickle.loads(pickle.dumps(held))):
        # What it writes is what was written, down to the last digit.
        assert repr(list(same)) == repr(wanted) and len(same) == len(wanted)
        assert [same.length(i) for i in range(len(same))] == [len(e) for e in wanted]
        assert [same.key(i) for i in range(len(same))] == [e.key for e in wanted]


def test_a_frame_takes_less_than_a_hundred_bytes_of_an_index():
    rng = np.random.default_rng(1)
    held = Catalogue([entries_of(rng, 40, 150), entries_of(rng, 40, 150)])
    frames = sum(map(held.length, range(len(held))))
    assert not held._odd and held.nbytes < 100 * frames


def test_what_stored_latents_know_of_their_shards_stays(tmp_path):
    with ShardWriter(tmp_path, shard_bytes=5000) as writer:
        for i in range(3):
            writer.add(f"clip{i}", rendered(i, 2, 32, 48))
    entries = [e for path in sorted(tmp_path.glob("*.json")) for e in read_index(path)]
    assert len(list(tmp_path.glob("*.tar"))) > 1
    assert Shards(tmp_path).digest() == hashlib.sha256(repr(entries).encode()).hexdigest()


# What made them ------------------------------------------------------------------------------------------------------


def test_rendering_other_clips_into_a_folder_is_refused(tmp_path):
    synthesize(tmp_path / "s", 2, 1, (32, 48))
    for other in ({"frames": 2, "size": (32, 48)}, {"frames": 1, "size": (48, 64)}):
        with pytest.raises(InputError, match=r"begun here with (frames 1|size 32x48), not (2|48x64)"):
            synthesize(tmp_path / "s", 3, **other)
    (tmp_path / "s" / "preparation.json").unlink()  # as older versions left it
    with pytest.raises(InputError, match="size 32x48, not 48x64"):
        synthesize(tmp_path / "s", 3, 1, (48, 64))
    synthesize(tmp_path / "s", 3, 1, (32, 48))
    assert [(len(c), c.height, c.width) for c in Shards(tmp_path / "s").clips] == [(1, 32, 48)] * 3


@pytest.mark.parametrize(
    ("flags", "said"), [(["--size", "24x32"], "size 48x64, not 24x32"), (["--quality", "50"], "quality 95, not 50")]
)
def test_preparing_otherwise_than_before_is_refused(flags, said, tmp_path, capsys):
    trees.virtual_kitti(tmp_path / "kitti")
    command = ["data", "prepare", "virtual-kitti", str(tmp_path / "kitti"), str(tmp_path / "s"), "--processes", "1"]
    assert main([*command, "--size", "48x64"]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "s").glob("*.*")}
    assert main([*command, *(flags if "--size" in flags else ["--size", "48x64", *flags])]) == 2
    assert said in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in (tmp_path / "s").glob("*.*")}


# Segments, and sequences with gaps -----------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("written", [1, 2])
def test_a_preparation_that_is_killed_between_two_stretches_of_a_segment_goes_on(written, tmp_path, monkeypatch):
    trees.virtual_kitti(tmp_path / "v")
    (sequence,) = data_set("virtual-kitti").sequences(tmp_path / "v")
    torn = {"picture": tmp_path / "nothing.jpg"}
    items = [
        sequence.items[0],
        sequence.items[1] | torn,
        sequence.items[1],
        sequence.items[2] | torn,
        sequence.items[2],
    ]
    segment = Segment("Scene01-clone-0-000000", tuple(items))
    monkeypatch.setattr(preparation, "segments_of", lambda data, sequences, root: [segment])
    prepare("virtual-kitti", tmp_path / "v", tmp_path / "whole", (48, 64))

    add = ShardWriter.add

    def dying(self, key, clip):
        if len(self.clips) == written:
            raise Killed
        add(self, key, clip)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShardWriter, "add", dying)
        prepare("virtual-kitti", tmp_path / "v", tmp_path / "cut", (48, 64))
    assert len(Shards(tmp_path / "cut")) == written
    again = prepare("virtual-kitti", tmp_path / "v", tmp_path / "cut", (48, 64))
    assert again.clips == 3 - written
    keys = [[c.key for c in Shards(tmp_path / k).clips] for k in ("whole", "cut")]
    assert keys[0] == keys[1] and len(keys[0]) == 3
    assert prepare("virtual-kitti", tmp_path / "v", tmp_path / "cut", (48, 64)).kept == 1
    log = (tmp_path / "cut" / "report" / "skipped.txt").read_text().splitlines()
    assert len(log) == len(set(log)) == 2


@given(st.sets(st.integers(0, 30)))
def test_sequences_that_are_cut_at_gaps_have_names_of_their_own(numbers):
    found = list(split_at_gaps("drive", ((n, {"n": n}) for n in sorted(numbers))))
    assert len({s.name for s in found}) == len(found)
    assert [item["n"] for s in found for item in s.items] == sorted(numbers)
    for s in found:
        own = [item["n"] for item in s.items]
        assert own == list(range(own[0], own[-1] + 1)) and own[-1] + 1 not in numbers


def test_two_sequences_of_one_name_are_refused(tmp_path):
    for size in ("GTAV_540", "GTAV_720"):
        trees.mvs_synth(tmp_path / "one")
        (tmp_path / "both").mkdir(exist_ok=True)
        next((tmp_path / "one").glob("GTAV_*")).rename(tmp_path / "both" / size)
    with pytest.raises(InputError, match=r"two sequences of MVS-Synth are named 0000"):
        data_set("mvs-synth").sequences(tmp_path / "both")


# Values and places that can't be -------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_told_in_a_sentence():
    with pytest.raises(InputError, match=r"ended from outside.*fewer"):
        list(in_order(os._exit, [(9,), (9,)], 2))


def test_python_refuses_what_the_command_line_refuses(tmp_path):
    for wrong in ({"frames": 0}, {"size": (0, 64)}, {"clips": -1}, {"processes": 0}, {"first_seed": -1}):
        with pytest.raises(InputError, match=next(iter(wrong)).removeprefix("first_")):
            synthesize(tmp_path / "s", **({"clips": 1, "frames": 1, "size": (32, 48)} | wrong))
    for wrong in ({"size": (48, -64)}, {"quality": 0}, {"processes": 10**6}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            prepare("virtual-kitti", tmp_path, tmp_path / "s", **wrong)
    assert not (tmp_path / "s").exists()
    assert SynthesisOptions(frames=3).frames == 3 and PreparationOptions().size == (320, 640)


def test_places_that_can_not_be_written_or_read_are_told_in_a_sentence(tmp_path, capsys):
    trees.spring(tmp_path / "spring")
    (tmp_path / "file").write_text("here")
    for target in ("/proc/x", str(tmp_path / "file"), str(tmp_path / "file" / "x")):
        for command in (
            ["synthesize", target, "--clips", "1", "--frames", "1", "--size", "32x48", "--processes", "1"],
            ["prepare", "spring", str(tmp_path / "spring"), target, "--processes", "1"],
        ):
            assert main(["data", *command]) == 2
            said = capsys.readouterr().err
            assert re.fullmatch(rf"error: {re.escape(target)}[^\n]*\n", said), said
    assert main(["data", "inspect", str(tmp_path / "nowhere")]) == 2
    assert "holds no shards" in capsys.readouterr().err
    shards = filled(tmp_path / "s", ["clip0"])
    assert main(["data", "inspect", str(shards), "-o", str(tmp_path / "file")]) == 2
    assert "writing failed" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "here"


def test_what_is_whole_when_synthesis_is_interrupted_is_kept(tmp_path):
    command = [sys.executable, "-m", "geometrycrafter.cli.main", "data", "synthesize", str(tmp_path / "s")]
    flags = ["--clips", "5000", "--frames", "1", "--size", "32x48", "--processes", "1"]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
    unfinished = tmp_path / "s" / ".rendered-000000.tar.tmp"
    deadline = time.monotonic() + 60
    while not (unfinished.exists() and unfinished.stat().st_size > 40_000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said
    clips = Shards(tmp_path / "s").clips
    assert 2 <= len(clips) < 5000 and not list((tmp_path / "s").glob(".*"))
