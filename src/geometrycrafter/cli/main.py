"""The ``geometrycrafter`` program: a thin layer over the Python API."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import difflib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from geometrycrafter.cli import (
    benchmark,
    compare,
    completion,
    data,
    eval,
    export,
    info,
    models,
    poses,
    run,
    train,
    view,
)
from geometrycrafter.cli.completion import complete
from geometrycrafter.cli.preferences import with_preferences
from geometrycrafter.cores import let_threads_sleep, using_threads
from geometrycrafter.errors import InputError, Stopped, reason
from geometrycrafter.process import Changed


class UsageError(SystemExit):
    """Flags are at fault; the sentence says which."""

    def __init__(self, sentence: str):
        super().__init__(2)
        self.sentence = sentence


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    wanted: Callable[[], str] | None = None
    """What to name, for who left out what a command can't do without."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As it is, but words that nothing takes are the command's fault, and a flag that is near is named."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            command = self._command(found)
            near = difflib.get_close_matches(rest[0].split("=")[0], command._option_string_actions, 1, 0.8)
            meant = f" (meant is perhaps {near[0]})" if near else ""
            command.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return found

    def _command(self, found: argparse.Namespace) -> argparse.ArgumentParser:
        """The parser of the command that was given, or of what is done by it."""
        command: Any = self
        while command._subparsers is not None:
            (choice,) = command._subparsers._group_actions
            if getattr(found, choice.dest, None) not in choice.choices:
                break
            command = choice.choices[getattr(found, choice.dest)]
        return command

    def error(self, message: str) -> NoReturn:
        if self.wanted is not None and "arguments are required" in message:
            message = f"{message}, which is {self.wanted()}"
        sentence = f"{message[0].lower()}{message[1:]}; see '{self.prog} --help'."
        print(f"error: {sentence}", file=sys.stderr)
        raise UsageError(sentence)


class Version(argparse.Action):
    """Looks the version up when it is asked for, which takes longer than all flags together."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from geometrycrafter.version import program_version

        print(f"geometrycrafter {program_version()}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    parser = Parser(
        prog="geometrycrafter",
        description="Point maps of videos: for every frame the 3-D point behind each pixel, one scale for the clip.",
        epilog="Start with: geometrycrafter run VIDEO, which writes NAME.gc, then geometrycrafter export NAME.gc mp4.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="say the version and end")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for command in (run, info, poses, view, export, compare, models, eval, data, train, benchmark, completion):
        command.add_parser(commands)
    return parser


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next tensor, and not to ask the system for each anew.

    Networks free and take the same large blocks over and over; by default each goes back to the system and is
    cleared again page by page, which costs a tenth of a run.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, 1 << 30)
    except (OSError, AttributeError):  # no glibc: nothing to tell
        return


class TerminatedError(KeyboardInterrupt):
    """Somebody asks the process to end; it is unwound as by Ctrl-C."""


class Interruption:
    """Whether Ctrl-C or SIGTERM has come: what is being loaded may turn it into an error of its own."""

    came: type[KeyboardInterrupt] | None = None


INTERRUPTION = Interruption()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM unwinds the program like Ctrl-C, so that what was done is kept and what is temporary goes."""
    owner = os.getpid()
    INTERRUPTION.came = None

    def interrupt(number: int, frame: object) -> None:
        INTERRUPTION.came = KeyboardInterrupt
        raise KeyboardInterrupt

    def stop(number: int, frame: object) -> None:
        INTERRUPTION.came = TerminatedError
        if os.getpid() != owner:  # a worker that was forked is ended, not unwound
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: the command's own, 2 where the input is at fault, 130 after Ctrl-C and 143 after SIGTERM.
    """
    with _WARNINGS.to(lambda message, *_: print(f"warning: {message}", file=sys.stderr)):
        return _run(arguments)


def _show_warnings(how: Any) -> None:
    warnings.showwarning = how


_WARNINGS = Changed(lambda: warnings.showwarning, _show_warnings, _show_warnings)


def _run(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text
            stream.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    let_threads_sleep()
    parser = build_parser()
    complete(parser)
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        args = parser.parse_args(words := with_preferences(parser, words))
    except UsageError as error:
        _tell_program(words, error.sentence)
        raise
    except InputError as error:
        _tell_program(words, str(error))
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        threads = using_threads(args.threads) if hasattr(args, "threads") else contextlib.nullcontext()
        with terminable(), threads:
            status = args.call(args) or 0
            sys.stdout.flush()  # here, where a reader who has gone is told
            return status
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"{stop}.", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt as interrupt:
        return _stopped(args, type(interrupt))
    except BrokenPipeError:
        # Who read the output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # Of a file that no command expects: a name that is too long, a disk that fails, a prior of the user's own.
        if INTERRUPTION.came is not None:
            return _stopped(args, INTERRUPTION.came)
        print(f"error: {error.filename or args.command}: {reason(error)}.", file=sys.stderr)
        return 2
    except Exception:
        if INTERRUPTION.came is None:
            raise
        return _stopped(args, INTERRUPTION.came)


def _stopped(args: argparse.Namespace, how: type[KeyboardInterrupt]) -> int:
    """Say how to go on; the exit status."""
    print(f"stopped; {getattr(args, 'go_on', 'give the same command again')}.", file=sys.stderr)
    return 143 if issubclass(how, TerminatedError) else 130


def _tell_program(words: Sequence[str], sentence: str) -> None:
    """What is wrong with the flags of ``run --json``, as an event like all others."""
    if words[:1] == ["run"] and "--json" in words:
        from geometrycrafter.cli.run_reports import Events

        Events().say("error", video=None, message=sentence)


if __name__ == "__main__":
    sys.exit(main())
