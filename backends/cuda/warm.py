"""Compilation beforehand: the codes of usual requests, in the forms that devices choose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from .. import usual
from . import KERNELS, choose_kernel, lanes, planes, sources
from .device import Code, Device

# What the code depends on: replicas per group, and whether blocks share one.
FORMS: dict[str, tuple[dict[str, Any], ...]] = {
    "lanes": (
        {"shape": lanes.Shape(16, 32, 1)},
        {"shape": lanes.Shape(32, 256, 1)},
        {"shape": lanes.Shape(32, 256, 2)},
    ),
    "planes": ({"shape": planes.Shape(1, 64, 1)}, {"shape": planes.Shape(4, 512, 2)}),
    "dense": ({"group": 8}, {"group": 16}, {"group": 32}),
    "bitlattice": ({"blocks": 1}, {"blocks": 2}),
    "swendsen-wang": ({},),
}


def codes(device: Device) -> Iterator[tuple[str, tuple[Code, ...]]]:
    """What each usual request is compiled to, by its name."""
    for name, request in usual.requests():
        if request.dynamics.name == "wolff":
            continue
        plan = KERNELS[choose_kernel(request)]
        made = [plan(request, device, **form).codes for form in FORMS[plan.kernel]]
        yield name, tuple(dict.fromkeys(code for form in made for code in form))


def compile_all(device: Device) -> Iterator[tuple[str, float]]:
    """(what, seconds) of each request; what is compiled is kept in `sources.cache_folder`."""
    for name, needed in codes(device):
        began = time.perf_counter()
        for code in needed:
            device.kernel(code, sources.kernel_names(code)[0])
        yield name, time.perf_counter() - began
