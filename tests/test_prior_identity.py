"""What tells a function that serves as a prior from another: a resumed run must have the same."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch
from conftest import flat_prior, moving_pattern
from torch import nn

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.priors import as_prior

SIZE = (64, 64)
FACTOR = 1.0


class StoppedError(Exception):
    pass


def stop(stage, done, total):
    if stage == "observe" and done == 2:
        raise StoppedError


def scaled(factor):
    """A closure over a number."""
    return lambda frames: (flat_prior(frames)[0] * factor, flat_prior(frames)[1])


def times(frames, factor=1.0):
    points, mask = flat_prior(frames)
    return points * factor, mask


def by_a_global(frames):
    return times(frames, FACTOR)


class Network(nn.Module):
    def __init__(self, seed, layers=1, slope=1.0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(layers))
        self.register_buffer("offset", torch.full((3,), float(seed)), persistent=False)
        self.slope = slope

    def forward(self, frames):
        return flat_prior(frames)

    def estimate(self, frames):
        return self(frames)


class Scaler:
    def __init__(self, factor, held=None):
        self.factor, self.held = factor, held

    def __call__(self, frames):
        return times(frames, self.factor)

    def other(self, frames):
        return times(frames, 2 * self.factor)


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, frames):
        return times(frames, self.factor)


def defaulted(factor):
    def prior(frames, factor=factor, *, power=1):
        return times(frames, factor**power)

    return prior


def nested(factor):
    return lambda frames: next(scaled(f)(frames) for f in (factor, 1.0))


def twice(name):
    """Two classes of one name, whose methods differ."""

    class Prior:
        if name == "a":

            def __call__(self, frames):
                return times(frames, 1.0)

        else:

            def __call__(self, frames):
                return times(frames, 3.0)

    return Prior()


MAKERS = {
    "closures": [lambda: scaled(1.0), lambda: scaled(2.0), lambda: scaled(1), lambda: scaled(np.ones(3))],
    "arrays": [lambda: scaled(np.zeros(3)), lambda: scaled(np.zeros(3, np.float32)), lambda: scaled(torch.zeros(3))],
    "captured functions": [lambda: nested(1.0), lambda: nested(2.0)],
    "code": [lambda: lambda frames: times(frames, 2.0), lambda: lambda frames: times(frames, 3.0)],
    "names": [lambda: lambda frames: frames.mean(), lambda: lambda frames: frames.amax()],
    "defaults": [lambda: defaulted(1.0), lambda: defaulted(2.0)],
    "networks": [lambda: Network(0), lambda: Network(1), lambda: Network(0, 2), lambda: Network(0, slope=2.0)],
    "modes": [lambda: Network(0).eval(), lambda: Network(0).train()],
    "partials": [lambda: functools.partial(times, factor=1.0), lambda: functools.partial(times, factor=2.0)],
    "partials of others": [lambda: functools.partial(times), lambda: functools.partial(by_a_global)],
    "methods": [lambda: Scaler(1.0).other, lambda: Scaler(2.0).other, lambda: Scaler(1.0).__call__],
    "methods of networks": [lambda: Network(0).estimate, lambda: Network(1).estimate],
    "objects": [lambda: Scaler(1.0), lambda: Scaler(2.0), lambda: Scaler(1.0, [1]), lambda: Scaler(1.0, {"a": {1, 2}})],
    "objects with slots": [lambda: Slotted(1.0), lambda: Slotted(2.0)],
    "classes of one name": [lambda: twice("a"), lambda: twice("b")],
    "objects in objects": [lambda: Scaler(1.0, Scaler(3.0)), lambda: Scaler(1.0, Scaler(4.0))],
    "generators": [lambda: scaled(np.random.default_rng(0)), lambda: scaled(np.random.default_rng(1))],
}


@pytest.mark.parametrize("kind", MAKERS)
def test_functions_are_told_apart_by_what_their_answers_depend_on(kind):
    found = [as_prior(make()).identity for make in MAKERS[kind]]
    assert len(set(found)) == len(found)
    assert found == [as_prior(make()).identity for make in MAKERS[kind]]  # and made again they are the same


def test_a_global_that_a_function_looks_up_is_part_of_it(monkeypatch):
    before = as_prior(by_a_global).identity
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 2.0)
    assert as_prior(by_a_global).identity != before


def test_weights_that_learn_make_another_prior():
    network = Network(0)
    before = as_prior(network).identity
    with torch.no_grad():
        network.layers[0].weight[0, 0] += 1e-6
    assert as_prior(network).identity != before


def test_a_scripted_network_is_told_by_its_weights():
    scripts = [torch.jit.trace(nn.Conv2d(3, 3, 1), torch.ones(1, 3, 4, 4)) for _ in range(2)]
    first, second = (as_prior(script).identity for script in scripts)
    assert first != second and first == as_prior(scripts[0]).identity


def test_what_holds_itself_comes_to_an_end():
    ring = Scaler(1.0)
    ring.held = ring
    other = Scaler(2.0)
    other.held = other
    assert as_prior(ring).identity != as_prior(other).identity


def test_a_file_that_is_called_as_one_of_pythons_is_the_users(tmp_path):
    said = []
    for factor in "12":
        (tmp_path / "profile.py").write_text(f"def prior(frames):\n    return frames * {factor}, frames[..., 0]\n")
        script = "import profile; from geometrycrafter.priors import as_prior; print(as_prior(profile.prior).identity)"
        call = [sys.executable, "-B", "-c", script]
        said.append(subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert said[0] != said[1] and said[0].startswith("profile.prior ")


def test_another_process_finds_the_same_identity(tmp_path):
    """Nothing in it is an address, or depends on the order of a set."""
    script = tmp_path / "prior.py"
    script.write_text(
        textwrap.dedent("""
        import functools, numpy as np, torch
        from geometrycrafter.priors import as_prior
        words = {"a", "b", "cd", "ef"}
        class Held:
            def __init__(self): self.value, self.next = np.arange(4), self
        def function(frames, *, held=Held()):
            return [word for word in words], torch.sin(frames), np.sin(held.value), len(words)
        print(as_prior(functools.partial(function, 3)).identity)
    """)
    )
    said = [subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout for _ in "ab"]
    assert said[0] == said[1] and not said[0].startswith("untold")


def test_a_run_is_not_resumed_with_another_closure(tmp_path):
    video, out = moving_pattern(4, 48, 64), tmp_path / "a.gc"
    options = {"size": SIZE, "decode_chunk": 2, "output": out}
    with pytest.raises(StoppedError):
        gc.load("tiny", prior=scaled(1.0))(video, progress=stop, **options)
    with pytest.raises(InputError, match="the run to resume had another prior; give the same"):
        gc.load("tiny", prior=scaled(2.0))(video, resume=True, **options)
    assert gc.load("tiny", prior=scaled(1.0))(video, resume=True, **options).depth.shape[0] == 4


@pytest.mark.parametrize("held", [threading.Lock(), (n for n in range(3)), torch.zeros(2, device="meta")])
def test_a_run_is_not_resumed_with_a_prior_that_cannot_be_told_unless_it_says_who_it_is(tmp_path, held):
    video, out = moving_pattern(4, 48, 64), tmp_path / "a.gc"
    options = {"size": SIZE, "decode_chunk": 2, "output": out}
    prior = Scaler(1.0, held)
    estimator = gc.load("tiny", prior=prior)
    with pytest.raises(StoppedError):
        estimator(video, progress=stop, **options)
    with pytest.raises(InputError, match=r"held of .*can't be told|held of .*isn't dense") as refusal:
        estimator(video, resume=True, **options)
    assert "identity" in str(refusal.value) and "\n" not in str(refusal.value)
    prior.identity = "a scaler by one"
    with pytest.raises(StoppedError):
        estimator(video, overwrite=True, progress=stop, **options)
    assert estimator(video, resume=True, **options).depth.shape[0] == 4
