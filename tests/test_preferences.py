"""Flags that are always the same: from files and the environment, behind what is given; and completion of all flags."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import moving_pattern, write_video
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import refused, say

import geometrycrafter as gc
from geometrycrafter.cli.main import build_parser
from geometrycrafter.cli.preferences import with_preferences


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def prefer(text: str) -> None:
    Path("geometrycrafter.toml").write_text(text)


def parsed(*words: str) -> dict[str, object]:
    parser = build_parser()
    return vars(parser.parse_args(with_preferences(parser, words)))


def test_a_run_takes_what_the_file_says_and_what_is_given_goes_before(tmp_path, capsys) -> None:
    write_video(tmp_path / "v.mp4", moving_pattern(3, 64, 96))
    prefer('[run]\nsize = "64x64"\nfocal = "per-frame"\nquiet = true\n')
    assert say(capsys, "run", "v.mp4") == (0, "", "")
    assert gc.open("v.gc").attributes["options"]["size"] == [64, 64]
    assert gc.open("v.gc").attributes["options"]["focal"] == "per-frame"
    status, out, _ = say(capsys, "run", "v.mp4", "--overwrite", "--foc", "shared", "--json", "--max-size", "64")
    assert status == 0 and out.startswith("{")  # the preference for --quiet gives way to its rival
    assert gc.open("v.gc").attributes["options"]["focal"] == "shared"


def test_files_variables_and_flags_stand_in_this_order(tmp_path, monkeypatch) -> None:
    own = tmp_path / "config" / "geometrycrafter" / "geometrycrafter.toml"
    own.parent.mkdir(parents=True)
    own.write_text('device = "mps"\n[run]\nsteps = 2\nseed = 2\nwindow = 20\noverlap = 2\n')
    prefer("[run]\nsteps = 3\nseed = 3\nwindow = 30\n")
    monkeypatch.setenv("GEOMETRYCRAFTER_RUN_STEPS", "4")
    monkeypatch.setenv("GEOMETRYCRAFTER_RUN_SEED", "4")
    found = parsed("run", "v.mp4", "--steps", "5")
    assert [found[k] for k in ("steps", "seed", "window", "overlap", "device")] == [5, 4, 30, 2, "mps"]
    assert parsed("poses", "a.gc")["device"] == "mps" and "device" not in parsed("info", "a.gc")


def test_tables_may_be_of_a_format_or_a_command_below_another() -> None:
    prefer('[export.mp4]\nbits = 10\n[data.synthesize]\nsize = "64x96"\n')
    assert parsed("export", "a.gc", "mp4")["bits"] == "10" and parsed("export", "a.gc", "ply")["bits"] is None
    assert parsed("data", "synthesize", "out")["size"] == (64, 96)
    assert parsed("data", "list")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\n\nsteps = 0\n", ("line 3", "steps", "1 to 1,000")),
        ("[run]\nstep = 1\n", ("line 2", "step", "steps")),
        ("[runs]\n", ("line 1", "runs", "run, info")),
        ("steps_ = 1\n", ("line 1", "steps_", "no flag of any command")),
        ("[run]\nfocal = 'fixed'\n", ("line 2", "focal", "per-frame")),
        ("[run]\npreview = 'maybe'\n", ("line 2", "preview", "true or false")),
        ("[run]\nsteps = true\n", ("line 2", "steps", "give a value")),
        ("[run]\noverwrite = true\n", ("line 2", "overwrite", "each time")),
        ("[run.fast]\nsteps = 1\n", ("line 1", "run.fast", "no command")),
        ("[run\n", ("geometrycrafter.toml", "TOML", "line 1")),
    ],
)
def test_what_is_wrong_in_the_file_is_a_sentence_with_its_line(text, words, capsys) -> None:
    prefer(text)
    said = refused(capsys, "run", "v.mp4")
    assert "geometrycrafter.toml" in said and all(word in said for word in words)


def test_what_is_wrong_in_the_environment_is_a_sentence_with_its_name(monkeypatch, capsys) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_RUN_STEPS", "many")
    assert "GEOMETRYCRAFTER_RUN_STEPS" in refused(capsys, "run", "v.mp4")
    monkeypatch.delenv("GEOMETRYCRAFTER_RUN_STEPS")
    monkeypatch.setenv("GEOMETRYCRAFTER_RUN_STOPS", "1")
    assert "GEOMETRYCRAFTER_RUN_STOPS" in refused(capsys, "run", "v.mp4")
    assert say(capsys, "models")[0] == 0  # another command is not concerned


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.integers(1, 1000),
    seed=st.integers(0, 2**62),
    guidance=st.floats(1, 99),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    camera=st.tuples(*[st.floats(1, 5000)] * 4),
    cuts=st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_the_file_means_what_the_flags_mean(steps, seed, guidance, size, camera, cuts) -> None:
    sides = "x".join(str(64 * side) for side in size)
    numbers = {"steps": steps, "seed": seed, "start": seed % 10**9, "end-time": guidance, "overlap": steps}
    lists = {"intrinsics": list(camera), "cuts": cuts}
    lines = [f"{k} = {v!r}" for k, v in {**numbers, **lists}.items()] + [f'size = "{sides}"', "strict = true"]
    prefer("[run]\n" + "\n".join(lines))
    flags = [f"--{k}={v}" for k, v in numbers.items()] + [f"--{k}={','.join(map(str, v))}" for k, v in lists.items()]
    preferred = parsed("run", "v.mp4")
    Path("geometrycrafter.toml").unlink()
    assert preferred == parsed("run", "v.mp4", *flags, f"--size={sides}", "--strict")


def completions(line: str, tmp_path: Path) -> list[str]:
    """What a shell is answered, by argcomplete's protocol."""
    out = tmp_path / "answer"
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE_IFS": "\n",
    }
    code = "import sys; sys.argv[0] = 'geometrycrafter'; from geometrycrafter.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    return out.read_text().split("\n")


def test_shells_complete_commands_flags_and_choices(tmp_path, capsys) -> None:
    pytest.importorskip("argcomplete")
    assert "models" in completions("geometrycrafter mo", tmp_path)
    assert "--preview" in completions("geometrycrafter run a.mp4 --pre", tmp_path)
    assert set(completions("geometrycrafter run --focal ", tmp_path)) >= {"shared", "per-frame", "free"}
    for shell in ("bash", "zsh", "fish"):
        status, out, _ = say(capsys, "completion", shell)
        assert status == 0 and "geometrycrafter" in out
    script = say(capsys, "completion", "bash")[1]
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_nothing_of_it_is_loaded_where_no_shell_asks() -> None:
    code = (
        "import sys; from geometrycrafter.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('argcomplete', 'torch', 'huggingface_hub', 'zarr', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("text", [f"a = {'[' * 5000}", f"[run]\nmax-size = 0x{'f' * 5000}\n", "[run]\nsize = [[1]]\n"])
def test_a_file_that_means_harm_is_a_sentence(text, capsys) -> None:
    prefer(text)
    said = refused(capsys, "run", "v.mp4")
    assert "geometrycrafter.toml" in said and len(said) < 400


@pytest.mark.parametrize("text", ['[view]\nhost = "0.0.0.0"\n', 'host = "0.0.0.0"\n', '[benchmark]\njson = "mine"\n'])
def test_a_strangers_folder_opens_nothing_and_replaces_nothing(text, tmp_path, capsys) -> None:
    prefer(text)
    words = ("benchmark", "--plan") if "benchmark" in text else ("view", "a.gc")
    assert "may be a stranger's" in refused(capsys, *words) and not Path("mine").exists()
    own = tmp_path / "config" / "geometrycrafter" / "geometrycrafter.toml"
    own.parent.mkdir(parents=True)
    Path("geometrycrafter.toml").rename(own)
    assert str(parsed(*words)["json" if words[0] == "benchmark" else "host"]) in ("mine", "0.0.0.0")
