"""An array namespace that computes with NumPy and refuses what CuPy refuses: work for the GPU, checked without one.

A :class:`StrictArray` does not mix with arrays of the host, is not converted by accident, and knows the functions,
methods and arguments of CuPy 14 only. It counts what makes the host wait for the device, and what is sent there. In two
things it is stricter than CuPy, which would copy in silence: indices and assigned values must be on the device.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

FUNCTIONS = {
    "abs": "x",
    "arange": "start, stop=None, step=1, dtype=None",
    "argsort": "a, axis=-1, kind=None",
    "ascontiguousarray": "a, dtype=None",
    "clip": "a, a_min, a_max, out=None",
    "concatenate": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "cumsum": "a, axis=None, dtype=None, out=None",
    "empty": "shape, dtype=float, order='C'",
    "empty_like": "prototype, dtype=None, order='K', subok=None, shape=None",
    "exp": "x",
    "eye": "N, M=None, k=0, dtype=float, order='C'",
    "full": "shape, fill_value, dtype=None, order='C'",
    "full_like": "a, fill_value, dtype=None, order='K', subok=None, shape=None",
    "isfinite": "x",
    "log": "x",
    "log1p": "x",
    "matmul": "x1, x2",
    "maximum": "x1, x2",
    "minimum": "x1, x2",
    "moveaxis": "a, source, destination",
    "ones": "shape, dtype=float, order='C'",
    "ones_like": "a, dtype=None, order='K', subok=None, shape=None",
    "repeat": "a, repeats, axis=None",
    "searchsorted": "a, v, side='left', sorter=None",
    "sqrt": "x",
    "stack": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "take": "a, indices, axis=None, out=None",
    "take_along_axis": "a, indices, axis",
    "tile": "A, reps",
    "trace": "a, offset=0, axis1=0, axis2=1, dtype=None, out=None",
    "tril": "m, k=0",
    "where": "condition, x, y",  # without x and y it would wait for the device
    "zeros": "shape, dtype=float, order='C'",
    "zeros_like": "a, dtype=None, order='K', subok=None, shape=None",
}
"""Arguments of the functions of CuPy that the code uses; another one is to be looked up in CuPy and added."""

LINALG = {"cholesky": "a", "eigh": "a, UPLO='L'", "inv": "a"}

METHODS = {
    "any": "axis=None, out=None, keepdims=False",
    "all": "axis=None, out=None, keepdims=False",
    "argmax": "axis=None, out=None, dtype=None, keepdims=False",
    "astype": "dtype, order='K', casting=None, subok=None, copy=True",
    "copy": "order='C'",
    "max": "axis=None, out=None, keepdims=False",
    "mean": "axis=None, dtype=None, out=None, keepdims=False",
    "min": "axis=None, out=None, keepdims=False",
    "reshape": "*shape, order='C', copy=None",
    "sum": "axis=None, dtype=None, out=None, keepdims=False",
    "swapaxes": "axis1, axis2",
}

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
_REFLECTED = ("radd", "rsub", "rmul", "rtruediv", "rpow", "rand", "ror", "rxor")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "iand", "ior", "ixor")
_UNARY = ("neg", "pos", "abs", "invert")


def _signature(arguments: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {arguments}: None"))


class Namespace:
    """The namespace; each has counters of its own.

    Attributes
    ----------
    syncs : Counter
        How often the host waited for the device, by what made it wait.
    uploads : int
        Arrays brought to the device.
    """

    float16, float32, float64 = np.float16, np.float32, np.float64
    int8, int32, int64, uint8, uint32, bool_ = np.int8, np.int32, np.int64, np.uint8, np.uint32, np.bool_
    nan, inf, newaxis = np.nan, np.inf, None
    finfo = np.finfo

    def __init__(self) -> None:
        self.syncs: Counter[str] = Counter()
        self.uploads = 0
        for name, arguments in FUNCTIONS.items():
            setattr(self, name, self._function(getattr(np, name), arguments))
        self.linalg = type("linalg", (), {})()
        for name, arguments in LINALG.items():
            setattr(self.linalg, name, self._function(getattr(np.linalg, name), arguments))

    def asarray(self, a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> Any:
        if isinstance(a, StrictArray):
            return StrictArray(self, np.asarray(a.host, dtype=dtype))
        self.uploads += 1
        return StrictArray(self, np.array(a, dtype=dtype))

    def _function(self, function: Callable[..., Any], arguments: str) -> Callable[..., Any]:
        signature = _signature(arguments)

        def strict(*args: Any, **kwargs: Any) -> Any:
            signature.bind(*args, **kwargs)
            with np.errstate(all="ignore"):  # a GPU does not warn
                return self.wrap(function(*map(bare, args), **{k: bare(v) for k, v in kwargs.items()}))

        return strict

    def wrap(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(map(self.wrap, result))
        return StrictArray(self, np.asarray(result)) if isinstance(result, np.ndarray | np.generic) else result


def bare(value: Any) -> Any:
    """Take the NumPy array out of a strict one; refuse an array of the host."""
    if isinstance(value, StrictArray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"an array of the host, {value.dtype} {value.shape}, among arrays of the device")
    if isinstance(value, list | tuple):
        return type(value)(map(bare, value))
    return value


class StrictArray:
    """An array of the device."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, xp: Namespace, host: np.ndarray) -> None:
        if host.dtype.kind not in "biufc":
            raise ValueError(f"unsupported dtype {host.dtype}")
        self._xp, self.host = xp, host

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    T = property(lambda self: StrictArray(self._xp, self.host.T))

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"strict {self.host!r}"

    def __getitem__(self, key: Any) -> StrictArray:
        return StrictArray(self._xp, np.asarray(self.host[self._key(key, reading=True)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[self._key(key, reading=False)] = bare(value)

    def _key(self, key: Any, *, reading: bool) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        masks = [part for part in parts if isinstance(part, StrictArray) and part.dtype == bool]
        if len(masks) > 1:
            raise IndexError("CuPy takes one mask at most")
        if masks and reading:
            self._xp.syncs["mask"] += 1  # the size of the result is known to the device only
        if any(isinstance(part, list) for part in parts):
            raise TypeError("a list of the host as an index")
        return tuple(map(bare, parts))

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        return self._waiting("get").copy()

    def tolist(self) -> Any:
        return self._waiting("tolist").tolist()

    def __bool__(self) -> bool:
        return bool(self._waiting("bool"))

    def __float__(self) -> float:
        return float(self._waiting("float"))

    def __int__(self) -> int:
        return int(self._waiting("int"))

    def _waiting(self, what: str) -> np.ndarray:
        self._xp.syncs[what] += 1
        return self.host

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_function__(self, *args: Any) -> Any:
        raise TypeError("a function of NumPy on an array of the device")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """``np.float64(2) * a`` is a call of a ufunc; anything else that comes here is a mistake."""
        scalar_first = len(inputs) == 2 and isinstance(inputs[0], np.generic) and method == "__call__" and not kwargs
        if not scalar_first:
            raise TypeError(f"{ufunc.__name__} of NumPy on an array of the device")
        with np.errstate(all="ignore"):
            return self._xp.wrap(ufunc(*map(bare, inputs)))


def _operator(name: str) -> Callable[..., Any]:
    method = f"__{name}__"

    def operator(self: StrictArray, *other: Any) -> Any:
        with np.errstate(all="ignore"):
            result = getattr(self.host, method)(*map(bare, other))
        return NotImplemented if result is NotImplemented else self._xp.wrap(result)

    return operator


def _in_place(name: str) -> Callable[..., Any]:
    method = f"__{name}__"

    def operator(self: StrictArray, other: Any) -> StrictArray:
        with np.errstate(all="ignore"):
            getattr(self.host, method)(bare(other))
        return self

    return operator


def _method(name: str, arguments: str) -> Callable[..., Any]:
    signature = _signature(arguments)

    def method(self: StrictArray, *args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        with np.errstate(all="ignore"):
            return self._xp.wrap(getattr(self.host, name)(*map(bare, args), **kwargs))

    return method


for _name in (*_BINARY, *_REFLECTED, *_COMPARISONS, *_UNARY):
    setattr(StrictArray, f"__{_name}__", _operator(_name))
for _name in _IN_PLACE:
    setattr(StrictArray, f"__{_name}__", _in_place(_name))
for _name, _arguments in METHODS.items():
    setattr(StrictArray, _name, _method(_name, _arguments))
