"""Flags that a person gives every time, from ``geometrycrafter.toml`` and environment variables.

    device = "cuda"            # of every command that has the flag

    [run]
    max-size = 640
    preview = true

    [export.mp4]
    bits = 10

The file in the current folder stands before the user's own (``~/.config/geometrycrafter/geometrycrafter.toml``), a
variable (``GEOMETRYCRAFTER_RUN_MAX_SIZE=640``) before both, and a flag before all. Keys and values are those of the
flags: what argparse knows of these is the only declaration.
"""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError, reason

FILE = "geometrycrafter.toml"
EACH_TIME = ("overwrite", "discard", "resume", "dry_run", "help", "version")
"""Flags that are no habit."""
RIVALS = (("size", "max_size"), ("camera", "intrinsics"), ("device", "devices"), ("quiet", "json"))
"""Flags of which one is given: it stands before a preference for the other."""
NOT_FROM_HERE = ("host", "json")
"""Flags with a value that no file in the current folder sets, which may be a stranger's: one opens scenes to the
network, the other replaces a file."""
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Preference:
    """A flag that was not given."""

    where: str
    """For messages: the file and its line, or the variable."""
    key: str
    value: Any


def with_preferences(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """Arguments of the command line with those that a person prefers put in, before what was given.

    Args:
        parser: of the program.
        arguments: as given.

    Raises:
        InputError: where a file can't be read, or a key or a value in it is none of the command's; says where.
    """
    command, names, at = _command(parser, arguments)
    given = _given(command, arguments[at:])
    files = [_read(place) for place in (user_file(), Path(FILE)) if place.is_file()]
    chosen: dict[str, list[str]] = {}
    for file in files:
        _check_tables(parser, file)
        for preference, shared in file.of(names, command, arguments[at:]):
            if file.path == Path(FILE):
                _check_harmless(command, preference)
            _add(chosen, command, preference, shared)
    for preference in _variables(names):
        _add(chosen, command, preference, False)
    kept = [words for flag, words in chosen.items() if flag not in given and not _rival_given(command, flag, given)]
    return [*arguments[:at], *(word for words in kept for word in words), *arguments[at:]]


def user_file() -> Path:
    """The user's own, in the folder for configurations."""
    root = os.environ.get("XDG_CONFIG_HOME")
    return (Path(root) if root else Path("~/.config").expanduser()) / "geometrycrafter" / FILE


@dataclass(frozen=True)
class _File:
    path: Path
    text: str
    tables: dict[str, Any]

    def where(self, names: Sequence[str], key: str) -> str:
        """The file and the line that a key is on."""
        table, wanted = "", ".".join(names)
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
                table = re.sub(r"[\"'\s]", "", header[1])
            full = ".".join(filter(None, (table, re.sub(r"[\"'\s]", "", line.split("=")[0])))) if "=" in line else ""
            if full == ".".join(filter(None, (wanted, key))) or (table == f"{wanted}.{key}".lstrip(".") and not full):
                return f"{self.path}, line {number}"
        return str(self.path)

    def of(
        self, names: Sequence[str], command: argparse.ArgumentParser, rest: Sequence[str]
    ) -> Iterator[tuple[Preference, bool]]:
        """Preferences for a command, and whether each is for every command that has it."""
        for key, value in self.tables.items():
            if not isinstance(value, dict):
                yield Preference(self.where((), key), key, value), True
        table: Any = self.tables
        for name in names:
            table = table.get(name, {})
        for key, value in table.items() if isinstance(table, dict) else ():
            if not isinstance(value, dict):
                yield Preference(self.where(names, key), key, value), False
            elif not any(key in choices for choices in _words(command)):
                raise InputError(f"{self.where(names, key)}: [{'.'.join((*names, key))}] is no command; remove it.")
            elif any(key == _meant(choices, rest) for choices in _words(command)):
                for inner, one in value.items():
                    yield Preference(self.where((*names, key), inner), inner, one), False


def _read(path: Path) -> _File:
    """A file of preferences.

    Raises:
        InputError: where it is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return _File(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: this is no TOML ({reason(error)}).") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: the file can't be read ({reason(error)}).") from error


def _check_tables(parser: argparse.ArgumentParser, file: _File) -> None:
    """Refuse a table of no command, and a key outside tables that no command has."""
    commands = _subcommands(parser)
    every = {option for one in _all_parsers(parser) for option in one._option_string_actions}
    for key, value in file.tables.items():
        if isinstance(value, dict) and key not in commands:
            raise InputError(f"{file.where((), key)}: [{key}] is no command; there are {', '.join(commands)}.")
        if not isinstance(value, dict) and _flag(key) not in every:
            raise InputError(f"{file.where((), key)}: {key} is no flag of any command.")


def _variables(names: Sequence[str]) -> Iterator[Preference]:
    """Those of the environment for a command."""
    start = "_".join(("GEOMETRYCRAFTER", *(name.upper().replace("-", "_") for name in names))) + "_"
    for name, value in sorted(os.environ.items()):
        if names and name.startswith(start) and value:
            yield Preference(name, name.removeprefix(start).lower(), value)


def _command(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.ArgumentParser, list[str], int]:
    """The parser of the command that is meant, its names, and where its own arguments begin."""
    names: list[str] = []
    for at, word in enumerate(arguments):
        if word not in _subcommands(parser):
            return parser, names, at
        parser = _subcommands(parser)[word]
        names.append(word)
    return parser, names, len(arguments)


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(next(found, {}))


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for other in _subcommands(parser).values():
        yield from _all_parsers(other)


def _meant(choices: Sequence[str], words: Sequence[str]) -> str | None:
    """The first of some words that is one of the choices, or stands for one, as a file does for a format."""
    found = next((word for word in words if word in choices), None)
    meant = getattr(choices, "meant", None)
    return found if meant is None or found is None else meant(found)


def _words(command: argparse.ArgumentParser) -> list[Any]:
    """What may stand in place of each word of a command: formats of ``export``, commands below ``data``."""
    return [a.choices for a in command._actions if not a.option_strings and a.choices is not None]


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _add(chosen: dict[str, list[str]], command: argparse.ArgumentParser, preference: Preference, shared: bool) -> None:
    """Put a preference into words of the command line.

    Raises:
        InputError: where it is none of the command's, or its value is wrong.
    """
    action = command._option_string_actions.get(_flag(preference.key))
    if action is None:
        if shared:
            return
        flags = sorted(o[2:] for o in command._option_string_actions if o.startswith("--"))
        near = [flag for flag in flags if flag.startswith(preference.key[:3].replace("_", "-"))] or flags
        raise InputError(
            f"{preference.where}: {command.prog.removeprefix('geometrycrafter ')} has no flag {preference.key}; "
            f"it has {', '.join(near)}."
        )
    if action.dest in EACH_TIME:
        raise InputError(f"{preference.where}: {preference.key} is decided each time; give it as a flag.")
    words = _as_words(action, preference)
    chosen.pop(action.dest, None)
    if words:
        chosen[action.dest] = words


def _check_harmless(command: argparse.ArgumentParser, preference: Preference) -> None:
    """Refuse what a file in the current folder must not say.

    Raises:
        InputError: where it does.
    """
    action = command._option_string_actions.get(_flag(preference.key))
    if action is not None and action.dest in NOT_FROM_HERE and action.nargs != 0:
        raise InputError(
            f"{preference.where}: {preference.key} can't stand in this folder's file, which may be a stranger's; "
            f"give it as a flag, or put it into {user_file()}."
        )


def _as_words(action: argparse.Action, preference: Preference) -> list[str]:
    """A flag with its value; nothing where it says no.

    Raises:
        InputError: where the value is none of the flag's.
    """
    value, flag = preference.value, _flag(preference.key)
    if action.nargs == 0:
        text = str(value).lower()
        if text not in (*YES, *NO):
            raise InputError(f"{preference.where}: {preference.key} {value!r}: give true or false.")
        return [flag] if text in YES else []
    if isinstance(value, bool | dict):
        raise InputError(f"{preference.where}: {preference.key} {value!r}: give a value, not {str(value).lower()}.")
    try:
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        read = action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
        raise InputError(f"{preference.where}: {preference.key}: {reason(error)}.") from error
    if action.choices is not None and read not in action.choices:
        raise InputError(
            f"{preference.where}: {preference.key} {text!r}: choose {', '.join(map(str, action.choices))}."
        )
    return [f"{flag}={text}"]


def _given(command: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """What flags set that were given, in whole or by their beginnings."""
    found = set()
    for word in words:
        if word == "--":
            break
        name = word.split("=")[0] if word.startswith("--") else word[:2]
        if word.startswith("-") and len(word) > 1:
            exact = command._option_string_actions.get(name)
            begun = [a for o, a in command._option_string_actions.items() if len(name) > 2 and o.startswith(name)]
            found |= {action.dest for action in ([exact] if exact else begun)}
    return found


def _rival_given(command: argparse.ArgumentParser, dest: str, given: set[str]) -> bool:
    groups = [{a.dest for a in group._group_actions} for group in command._mutually_exclusive_groups]
    return any(dest in group and (group - {dest}) & given for group in [*groups, *map(set, RIVALS)])
