# SPDX-License-Identifier: Apache-2.0
"""Nested mappings of arrays out of an .npz that keeps them as a pickle, without unpickling: nothing
in the file is ever called.

Human3.6M is usually passed on as `data_3d_h36m.npz`, a mapping of mappings of arrays in one pickled
object. A pickle is a program for a stack machine; this one knows the instructions that plain
containers, numbers, texts and numpy arrays are written with, and refuses others.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MOST = 1_000_000
"""Values that a file may hold, counted wherever they stand: some bytes can put one into itself
twice, thirty times over."""

_MARK = object()
_ARRAY = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_BUFFER = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"}
_NOTHING = {"PROTO", "FRAME"}


class _Name(tuple):
    """A module and a name in it: read, never looked up."""


class _Array:
    """An array under construction."""

    value: np.ndarray | None = None


def read_pickled(path: str | Path, name: str) -> Any:
    """What array `name` of an .npz holds, a pickled object of dicts, lists, tuples, texts, numbers
    and arrays.

    FileNotFoundError where there is no file; ValueError in one line where it is not readable, lacks
    the array, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                raise ValueError(f"{path}: {name} is missing")
            content = io.BytesIO(archive.read(f"{name}.npy"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path}: not a readable .npz ({' '.join(str(error).split())})") from None
    try:
        version = np.lib.format.read_magic(content)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(content)
        if dtype.kind != "O" or shape != ():
            raise ValueError(f"expected one pickled object, got {shape} of {dtype}")
        return _finished(_run(content.read()), iter(range(MOST)))
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RecursionError,
        SyntaxError,
    ) as error:
        raise ValueError(f"{path}: {name}: {' '.join(str(error).split())}") from None


def _run(program: bytes) -> Any:
    """The object that a pickle describes; an object array of one item, as numpy writes it, gives
    the item."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name == "STOP":
            return stack.pop()
        _step(opcode.name, argument, stack, memo)
    raise ValueError("the pickle has no end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """One instruction."""
    if name in _NOTHING:
        return
    if name in _NUMBERS | _TEXTS | _BYTES:
        stack.append(
            argument.encode("latin1") if name in ("BINSTRING", "SHORT_BINSTRING") else argument
        )
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name]())
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[int(argument)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[int(argument)])
    elif name in _CONTAINERS:
        _CONTAINERS[name](stack)
    elif name == "GLOBAL":
        stack.append(_Name(argument.split(" ")))
    elif name == "STACK_GLOBAL":
        inside, module = stack.pop(), stack.pop()
        stack.append(_Name((module, inside)))
    elif name == "REDUCE":
        arguments, function = stack.pop(), stack.pop()
        stack.append(_reduced(function, arguments))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1] = _built(stack[-1], state)
    else:
        raise ValueError(f"the pickle holds more than plain data ({name})")


def _to_mark(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, off the stack with it."""
    start = max(k for k, item in enumerate(stack) if item is _MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _tuple_of(count: int):
    def make(stack: list[Any]) -> None:
        items = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack.append(items)

    return make


def _set_items(stack: list[Any]) -> None:
    items = _to_mark(stack)
    stack[-1].update(zip(items[::2], items[1::2]))


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1][key] = value


_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_CONTAINERS = {
    "TUPLE": lambda stack: stack.append(tuple(_to_mark(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "DICT": lambda stack: stack.append(_dict_of(_to_mark(stack))),
    "LIST": lambda stack: stack.append(_to_mark(stack)),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "APPEND": lambda stack: stack[-2].append(stack.pop()),
    "APPENDS": lambda stack: (lambda items: stack[-1].extend(items))(_to_mark(stack)),
    "POP": lambda stack: stack.pop(),
}


def _dict_of(items: list[Any]) -> dict:
    return dict(zip(items[::2], items[1::2]))


def _reduced(function: _Name, arguments: tuple) -> Any:
    """What numpy's own ways of writing an array, a type and bytes stand for."""
    name = tuple(function) if isinstance(function, _Name) else ()
    if name in _ARRAY:
        return _Array()
    if name in _BUFFER:
        content, dtype, shape, order = arguments
        return np.frombuffer(content, dtype).reshape(shape, order=order)
    if name == ("numpy", "dtype"):
        return np.dtype(str(arguments[0]))
    if name == ("_codecs", "encode"):
        return arguments[0].encode("latin1")
    if name in (("__builtin__", "bytes"), ("builtins", "bytes")) and not arguments:
        return b""
    raise ValueError(f"the pickle holds more than plain data ({'.'.join(map(str, name))})")


def _built(item: Any, state: Any) -> Any:
    """An array with its content; a type is what its name says."""
    if isinstance(item, np.dtype):
        if state[1] == ">":
            raise ValueError("the pickle holds numbers of another byte order")
        return item
    _, shape, dtype, by_column, content = state
    if dtype.kind == "O":
        item.value = np.empty(len(content), object)
        for k, value in enumerate(content):
            item.value[k] = value
        item.value = item.value.reshape(shape)
    else:
        item.value = np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")
    return item


def _finished(item: Any, left: Iterator[int]) -> Any:
    """Containers with their arrays in place of those under construction; as many values as are
    `left`."""
    if next(left, None) is None:
        raise ValueError(f"the pickle holds more than {MOST} values")
    if isinstance(item, _Array):
        if item.value is None:
            raise ValueError("the pickle holds an array without content")
        return (
            _finished(item.value.item(), left)
            if item.value.dtype.kind == "O" and item.value.shape == ()
            else item.value
        )
    if isinstance(item, _Name):
        raise ValueError(f"the pickle holds more than plain data ({'.'.join(map(str, item))})")
    if isinstance(item, dict):
        return {key: _finished(value, left) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return type(item)(_finished(value, left) for value in item)
    return item


def walk(tree: Any, path: tuple = ()) -> Iterator[tuple[tuple, np.ndarray]]:
    """Every array in nested mappings, with the keys that lead to it."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, dict):
            yield from walk(value, (*path, key))
        elif isinstance(value, np.ndarray):
            yield (*path, key), value
