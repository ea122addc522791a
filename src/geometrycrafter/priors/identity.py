"""What a function's answers depend on, as a digest: its code, and every value that it holds or names.

Code and values are followed from one to the next: defaults, captured variables, globals, the attributes of objects, the
methods of classes. What comes with Python or is installed counts by its name and version.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import sysconfig
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

UNTOLD = "untold"
"""How the identity of what can't be told from another begins; no two are the same."""
ATOMS = (bool, int, float, complex, str, bytes, type(None), type(...), torch.dtype, torch.device, np.dtype, Path)


class UntoldError(Exception):
    """A value can't be told from another one; the message says which."""


def identity_of(function: Callable[..., Any]) -> str:
    """A function's name, and a digest of what its answers depend on.

    A text ``identity`` that the function or object has is taken at its word. Where something can't be told from
    another (an open file, a lock, what a library keeps to itself), the identity begins with ``untold``, differs from
    every other, and says why.
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{named.__module__}.{named.__qualname__}"
    own = getattr(function, "identity", None)
    if isinstance(own, str) and own:
        return f"{name} {own}"
    try:
        walk = _Walk()
        walk.add(function, name)
        return f"{name} {walk.digest.hexdigest()}"
    except UntoldError as error:
        return f"{UNTOLD} {uuid.uuid4().hex}: {error}"
    except RecursionError:
        return f"{UNTOLD} {uuid.uuid4().hex}: {name} is nested too deep"


class _Walk:
    """Adds a value, and all that it leads to, to one digest; what was met before counts by when it was met."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._met: dict[int, tuple[int, Any]] = {}  # with the value, so that its number stays its own

    def add(self, value: Any, name: str) -> None:
        """Add a value.

        Args:
            value: any.
            name: what messages call it.
        """
        if isinstance(value, ATOMS) and type(value).__module__ in {
            "builtins",
            "torch",
            "numpy",
            "pathlib",
            "numpy.dtypes",
        }:
            self._say(type(value).__name__, repr(value))
            return
        if id(value) in self._met:
            self._say("again", self._met[id(value)][0])
            return
        self._met[id(value)] = (len(self._met), value)
        way = _EXACT.get(type(value)) or next((way for kinds, way in _WAYS if isinstance(value, kinds)), None)
        (way or _Walk._add_object)(self, value, name)

    def _say(self, *words: Any) -> None:
        for word in words:
            content = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")
            self.digest.update(len(content).to_bytes(8, "little"))
            self.digest.update(content)

    def _add_each(self, kind: str, values: Iterable[tuple[str, Any]]) -> None:
        listed = list(values)
        self._say(kind, len(listed))
        for name, value in listed:
            self.add(value, name)

    def _add_function(self, function: types.FunctionType, name: str) -> None:
        if self._added_by_name(function):
            return
        self._say("function", function.__qualname__)
        self._add_code(function.__code__, function.__globals__)
        self.add(function.__defaults__, f"a default of {name}")
        self.add(function.__kwdefaults__, f"a default of {name}")
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                content = None
            self.add(content, f"{free} in {function.__qualname__}")
        self.add(vars(function), f"an attribute of {name}")

    def _add_code(self, code: types.CodeType, known: dict[str, Any]) -> None:
        self._say("code", code.co_code, code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_exceptiontable)
        self._say(*code.co_names, *code.co_varnames, *code.co_freevars)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._add_code(constant, known)
            else:
                self.add(constant, f"a constant of {code.co_qualname}")
        # Names of attributes stand among the code's names too: only what is looked up as a global is one.
        looked_up = {i.argval for i in dis.get_instructions(code) if i.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}
        for word in sorted(looked_up & known.keys()):
            self._say(word)
            self.add(known[word], f"{word} in {code.co_qualname}")

    def _add_class(self, kind: type, name: str) -> None:
        if self._added_by_name(kind):
            return
        self._say("class", kind.__qualname__)
        for base in kind.__bases__:
            self.add(base, base.__qualname__)
        for word, value in sorted(vars(kind).items()):
            ours = callable(value) or isinstance(value, staticmethod | classmethod | property)
            hidden = word.startswith("__") and word.endswith("__") and not ours
            if hidden or word == "_abc_impl" or isinstance(value, types.MemberDescriptorType):
                continue
            self._say(word)
            self.add(value, f"{word} of {kind.__qualname__}")

    def _added_by_name(self, value: Any) -> bool:
        module = getattr(value, "__module__", None) or "builtins"
        if "<" in value.__qualname__ or not _installed(module):
            return False
        self._say("installed", module, value.__qualname__, _version(module))
        return True

    def _add_builtin(self, value: Any, name: str) -> None:
        self._say("builtin", getattr(value, "__module__", None), getattr(value, "__qualname__", value.__name__))
        held = getattr(value, "__self__", None)
        if not isinstance(held, types.ModuleType):
            self.add(held, name)

    def _add_module(self, module: types.ModuleType, name: str) -> None:
        self._say("module", module.__name__, _version(module.__name__))
        file = getattr(module, "__file__", None)
        if file and not _installed(module.__name__) and Path(file).is_file():
            self._say(Path(file).read_bytes())

    def _add_method(self, method: types.MethodType, name: str) -> None:
        self._add_each("method", [(name, method.__func__), (f"the object of {name}", method.__self__)])

    def _add_wrapper(self, wrapper: staticmethod[..., Any] | classmethod[Any, ..., Any], name: str) -> None:
        self._add_each(type(wrapper).__name__, [(name, wrapper.__func__)])

    def _add_property(self, wrapper: property, name: str) -> None:
        self._add_each("property", [(name, f) for f in (wrapper.fget, wrapper.fset, wrapper.fdel)])

    def _add_partial(self, partial: functools.partial[Any], name: str) -> None:
        held = (partial.func, partial.args, partial.keywords, vars(partial))
        self._add_each("partial", [(f"what {name} holds", value) for value in held])

    def _add_mapping(self, mapping: dict[Any, Any], name: str) -> None:
        self._say(type(mapping).__qualname__, len(mapping))
        for key, value in mapping.items():
            self.add(key, name)
            self.add(value, f"{key} of {name}" if isinstance(key, str) else name)

    def _add_sequence(self, values: list[Any] | tuple[Any, ...], name: str) -> None:
        self._add_each(type(values).__qualname__, [(name, value) for value in values])

    def _add_set(self, values: set[Any] | frozenset[Any], name: str) -> None:
        digests = []
        for value in values:
            walk = _Walk()
            walk.add(value, name)
            digests.append(walk.digest.digest())
        self._say(type(values).__qualname__, *sorted(digests))

    def _add_array(self, array: np.ndarray | np.generic, name: str) -> None:
        if array.dtype.hasobject:
            raise UntoldError(f"{name} is an array of objects")
        self._say("array", array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def _add_tensor(self, tensor: Tensor, name: str) -> None:
        if tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.layout != torch.strided:
            raise UntoldError(f"{name} is a tensor that isn't dense")
        self._say("tensor", tensor.dtype, tuple(tensor.shape))
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        self._say(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")

    def _add_script(self, script: Any, name: str) -> None:
        self._say("script", script.inlined_graph if isinstance(script, torch.jit.ScriptModule) else script.graph)
        if isinstance(script, torch.jit.ScriptModule):
            self.add(dict(script.state_dict()), f"the weights of {name}")

    def _add_object(self, value: Any, name: str) -> None:
        """Any other object: by what pickle would keep of it."""
        inner = getattr(value, "_orig_mod", None) or getattr(value, "__wrapped__", None)
        if inner is not None:  # compiled, or cached
            self._add_each("wrapped", [(name, inner)])
            return
        try:
            kept = value.__reduce_ex__(2)
        except Exception as error:  # whatever a class raises that won't be pickled
            raise UntoldError(f"{name} is of type {type(value).__name__}, whose values can't be told apart") from error
        if isinstance(kept, str):  # a global of this name
            self._say("named", type(value).__module__, kept)
            return
        items = [list(part) if i > 2 and part is not None else part for i, part in enumerate(kept)]
        self.add(type(value), type(value).__qualname__)
        self._add_each(
            "object", [(f"an attribute of {name}" if i != 2 else name, part) for i, part in enumerate(items)]
        )


_WAYS: list[tuple[Any, Callable[[_Walk, Any, str], None]]] = [
    (types.FunctionType, _Walk._add_function),
    (type, _Walk._add_class),
    ((types.BuiltinFunctionType, np.ufunc), _Walk._add_builtin),
    (types.ModuleType, _Walk._add_module),
    (types.MethodType, _Walk._add_method),
    ((staticmethod, classmethod), _Walk._add_wrapper),
    (property, _Walk._add_property),
    (functools.partial, _Walk._add_partial),
    ((np.ndarray, np.generic), _Walk._add_array),
    (Tensor, _Walk._add_tensor),
    ((torch.jit.ScriptModule, torch.jit.ScriptFunction), _Walk._add_script),
]
_EXACT: dict[type, Callable[[_Walk, Any, str], None]] = {
    dict: _Walk._add_mapping,
    OrderedDict: _Walk._add_mapping,
    list: _Walk._add_sequence,
    tuple: _Walk._add_sequence,
    torch.Size: _Walk._add_sequence,
    set: _Walk._add_set,
    frozenset: _Walk._add_set,
}
"""Those whose subclasses may hold more."""


@functools.cache
def _installed(module: str) -> bool:
    top = module.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    ours = top in sys.stdlib_module_names  # by its name; a file of the user's may be called so too
    if file is None:
        return ours
    places = {sysconfig.get_path(p) for p in ("purelib", "platlib", *(("stdlib", "platstdlib") if ours else ()))}
    return any(Path(file).is_relative_to(place) for place in places)


def _version(module: str) -> str:
    return str(getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))
