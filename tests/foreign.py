"""Arrays that stand for those of another device: NumPy's own functions refuse them, as does
arithmetic with plain NumPy arrays. Only the module `xp` makes and takes them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from isingnpu.backends.cuda.host import HostDevice


class Foreign(np.ndarray):
    """Memory of the processor that behaves as an array of cupy towards numpy."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if any(type(value) is np.ndarray and value.ndim for value in inputs):
            raise TypeError(f"{ufunc.__name__} of an array of the device and one of numpy")
        if out is not None:
            options["out"] = tuple(map(plain, out))
        made = getattr(ufunc, method)(*map(plain, inputs), **options)
        return foreign(made) if out is None else out[0]

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} of an array of the device")


def plain(value):
    """The same memory to numpy; inside lists too."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.view(np.ndarray) if isinstance(value, Foreign) else value


def foreign(value):
    """The same memory on the device; other values as they are."""
    return value.view(Foreign) if isinstance(value, np.ndarray) else value


class Module(SimpleNamespace):
    """numpy for arrays of the device."""

    float32, int64 = np.float32, np.int64

    def __getattr__(self, name):
        def call(*args, **options):
            options = {key: plain(value) for key, value in options.items()}
            return foreign(getattr(np, name)(*map(plain, args), **options))

        return call

    def asnumpy(self, array):
        return plain(array).copy()


class ForeignDevice(HostDevice):
    """The processor with arrays of its own."""

    xp = Module()

    def empty(self, shape, dtype):
        return foreign(super().empty(shape, dtype))

    def zeros(self, shape, dtype):
        return foreign(super().zeros(shape, dtype))

    def put(self, array):
        return foreign(super().put(array))

    def get(self, array):
        return plain(array).copy()
