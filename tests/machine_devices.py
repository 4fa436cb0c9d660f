"""The cuda device of machines for tests: on a GPU, and on the processor in any schedule."""

from __future__ import annotations

import numpy as np
import pytest

from isingnpu.backends.cuda import backend, host, launches, machine
from isingnpu.backends.cuda.host import FORWARD, REVERSE, HostDevice

PLACES = ["forward", "reverse", "shuffled", pytest.param("gpu", marks=pytest.mark.gpu)]


def device_at(place, monkeypatch):
    """The device; on the processor with one block, whose threads stride, in two of three places.
    A visible skip where it cannot be had."""
    if place == "gpu":
        if backend.unavailable() is not None:
            pytest.skip(f"cuda: {backend.unavailable()}")
        return machine.device
    if host.compiler() is None:
        pytest.skip("g++ not found")
    if place == "forward":
        return machine.CudaMachine(HostDevice(FORWARD))
    monkeypatch.setattr(launches, "BLOCKS", 1)
    monkeypatch.setattr(machine, "MOST_IMAGES", 2)
    order = REVERSE if place == "reverse" else 12345
    return machine.CudaMachine(HostDevice(order, processors=1))


class There:
    """Calls a device with NumPy arrays, which take on what it writes into them, and gives NumPy
    arrays back."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name):
        def call(*args, **options):
            kept = []
            put = [self._put(a, kept) for a in args]
            found = getattr(self.device, name)(*put, **options)
            get = self.device.device.get
            for here, there in kept:
                here[...] = get(there)
            if found is None:
                return None
            return tuple(map(get, found)) if isinstance(found, tuple) else get(found)

        return call

    def _put(self, value, kept):
        if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
            return tuple(self._put(part, kept) for part in value)
        if not isinstance(value, np.ndarray):
            return value
        kept.append((value, self.device.xp.array(value)))
        return kept[-1][1]
