# SPDX-License-Identifier: Apache-2.0
"""Reads nested mappings of arrays from an .npz that stores them as a pickle, as Human3.6M does.

`data_3d_h36m.npz` is one pickled object: a mapping of mappings of arrays. A pickle can call any
function by its name. The unpickler here knows only the few names that NumPy arrays are written
with, and replaces each of them with a function of this module that checks its arguments. Every
other name is an error.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.errors import DataError, one_line

MOST = 1_000_000
"""Largest number of values in a file. References count each time: a list that holds another list
twice, thirty levels deep, takes a few hundred bytes but has a thousand million values."""

_ZIP_ERRORS = (
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What NumPy and the unpickler raise for damaged bytes."""


class _Array:
    """An array that is being unpickled: stands for the result of NumPy's `_reconstruct`."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        """Set the content, as `ndarray.__setstate__` does, but with all lengths checked."""
        _, shape, dtype, is_fortran, content = state
        kind = _dtype_of(dtype)

        if kind.hasobject:
            flat = np.empty(len(content), object)
            for k, item in enumerate(content):
                flat[k] = item
            self.value = flat.reshape(shape)
        else:
            flat = np.frombuffer(content, kind)
            self.value = flat.reshape(shape, order="F" if is_fortran else "C")


class _Dtype:
    """A type that is being unpickled: stands for `numpy.dtype`. Its state only says the byte
    order."""

    def __init__(self, name: str | bytes):
        text = name.decode("latin1") if isinstance(name, bytes) else str(name)
        self.value = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            raise DataError("the pickle holds numbers of another byte order")


def _dtype_of(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise DataError("the pickle holds an array without a type")
    return dtype.value


def _reconstruct(*_: Any) -> _Array:
    """In place of numpy._core.multiarray._reconstruct; the content follows in the state."""
    return _Array()


def _make_dtype(name: str | bytes, *_: Any) -> _Dtype:
    """In place of numpy.dtype."""
    return _Dtype(name)


def _frombuffer(
    content: bytes,
    dtype: _Dtype,
    shape: tuple,
    order: str,
) -> np.ndarray:
    """In place of numpy._core.numeric._frombuffer, which protocol 5 uses."""
    return np.frombuffer(content, _dtype_of(dtype)).reshape(shape, order=order)


def _encode(text: str, *_: Any) -> bytes:
    """In place of _codecs.encode, with which protocols 0 to 2 write bytes."""
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """In place of bytes(), with which protocols 0 to 2 write empty bytes."""
    return b""


_ALLOWED: dict[str, Callable] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "numpy.dtype": _make_dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": _empty_bytes,
    "__builtin__.bytes": _empty_bytes,
}
"""The names that may be called, and what is called in their place."""

_NAMED = {"numpy.ndarray"}
"""Names that may be mentioned, as arguments, but not called."""


class _Global:
    """What a name in the pickle stands for: can only be called, and only if it is allowed."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __call__(self, *arguments: Any) -> Any:
        if self._name not in _ALLOWED:
            raise _more_than_data(self._name)
        return _ALLOWED[self._name](*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _more_than_data(self._name)


def _more_than_data(name: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"the pickle holds more than plain data ({name})")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers, numbers, texts and NumPy arrays."""

    def find_class(
        self,
        module: str,
        name: str,
    ) -> _Global:
        whole = f"{module}.{name}"
        if whole not in _ALLOWED and whole not in _NAMED:
            raise _more_than_data(whole)
        return _Global(whole)


def read_pickled(
    path: str | Path,
    name: str,
) -> Any:
    """Array `name` of an .npz, a pickled object of dicts, lists, tuples, texts, numbers and arrays.

    FileNotFoundError if there is no such file. DataError in one line if the file cannot be read,
    lacks the array, or holds anything else.
    """
    content = _read_member(path, name)
    try:
        _skip_header(content)
        loaded = _ArrayUnpickler(content, encoding="bytes").load()
        return _unwrapped(loaded, iter(range(MOST)))
    except _PICKLE_ERRORS as error:
        raise DataError(f"{path}: {name}: {one_line(error)}") from None


def _read_member(
    path: str | Path,
    name: str,
) -> io.BytesIO:
    """The bytes of array `name` in the archive."""
    member = f"{name}.npy"
    try:
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                raise DataError(f"{path}: {name} is missing")
            return io.BytesIO(archive.read(member))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: not a readable .npz ({one_line(error)})") from None


def _skip_header(content: io.BytesIO) -> None:
    """Read the .npy header; DataError unless it announces one pickled object."""
    version = np.lib.format.read_magic(content)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(content)

    if dtype.kind != "O" or shape != ():
        raise DataError(f"expected one pickled object, got {shape} of {dtype}")


def _unwrapped(
    item: Any,
    budget: Iterator[int],
) -> Any:
    """Containers with each _Array replaced by its array. One item of `budget` is used per value."""
    if next(budget, None) is None:
        raise DataError(f"the pickle holds more than {MOST} values")

    if isinstance(item, _Array):
        if item.value is None:
            raise DataError("the pickle holds an array without content")
        if item.value.dtype.kind == "O" and item.value.shape == ():
            return _unwrapped(item.value.item(), budget)
        return item.value

    if isinstance(item, _Global):
        raise _more_than_data(item._name)
    if isinstance(item, dict):
        return {key: _unwrapped(value, budget) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return type(item)(_unwrapped(value, budget) for value in item)

    return item


def walk(
    tree: Any,
    path: tuple = (),
) -> Iterator[tuple[tuple, np.ndarray]]:
    """Every array in nested mappings, with the keys that lead to it."""
    if not isinstance(tree, dict):
        return

    for key, value in tree.items():
        if isinstance(value, dict):
            yield from walk(value, (*path, key))
        elif isinstance(value, np.ndarray):
            yield (*path, key), value
