"""The bytes of `dimod.BinaryQuadraticModel.to_file`, versions 1.0 and 2.0.

    "DIMODBQM", two bytes of version, uint32 length, JSON header; then, little-endian,
    offset; n x (start of the neighbourhood, linear bias); 2 m x (neighbour, quadratic bias);
    labels: in the header (1.0), or "VARS", uint32 length, JSON (2.0).

Every length and index is checked here: dimod's own reader trusts them, and a damaged file can
make it read outside its memory. Specification: docstring of `to_file`, dimod 0.12.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from isingnpu.archive import nested_tuples
from isingnpu.convert import Terms, qubo_terms
from isingnpu.couplings import Array

MAGIC = b"DIMODBQM"
_VERSIONS = ((1, 0), (2, 0))
_LENGTH = np.dtype("<u4")


def bqm_terms(content: bytes) -> Terms:
    """Terms of a whole file. Raises an exception of any class if it is damaged."""
    if content[:8] != MAGIC:
        raise ValueError(f"starts with {content[:8]!r}, must be {MAGIC!r}")
    version = content[8], content[9]
    if version not in _VERSIONS:
        raise ValueError(f"version {version}, allowed are {_VERSIONS}")
    text, at = _json_section(content, 10)
    header = json.loads(text)
    n, m = header["shape"]
    offset, linear, i, j, quadratic, at = _biases(content, at, header, n, m)
    labels = header["variables"]
    if labels is True:
        if content[at : at + 4] != b"VARS":
            raise ValueError(f"labels start with {content[at : at + 4]!r}, must be b'VARS'")
        labels = json.loads(_json_section(content, at + 4)[0])
    terms = _terms(header["vartype"], linear, i, j, quadratic, offset)
    return replace(terms, labels=_labels(labels))


def _json_section(content: bytes, at: int) -> tuple[str, int]:
    """(text, place after it) of a section that starts with its length."""
    length = int(np.frombuffer(content, _LENGTH, 1, at)[0])
    text = content[at + 4 : at + 4 + length]
    if len(text) < length:
        raise ValueError(f"section of {length} bytes has {len(text)}")
    return text.decode("ascii"), at + 4 + length


def _biases(
    content: bytes, at: int, header: dict[str, Any], n: int, m: int
) -> tuple[float, Array, Array, Array, Array, int]:
    """(offset, linear, i, j, quadratic, place after them), i > j."""
    if not (n >= 0 and m >= 0):
        raise ValueError(f"shape is {(n, m)}, must not be negative")
    bias, neighbour, start = (
        np.dtype(header[name]).newbyteorder("<") for name in ("dtype", "itype", "ntype")
    )
    if (bias.kind, neighbour.kind in "iu", start.kind in "iu") != ("f", True, True):
        raise ValueError(f"types are {bias}, {neighbour}, {start}, must be float, int, int")
    offset = float(np.frombuffer(content, bias, 1, at)[0])
    at += bias.itemsize
    rows = np.frombuffer(content, [("start", start), ("bias", bias)], n, at)
    at += rows.nbytes
    entries = np.frombuffer(content, [("site", neighbour), ("bias", bias)], 2 * m, at)
    at += entries.nbytes
    starts = np.append(rows["start"].astype(np.int64), 2 * m)
    degrees = np.diff(starts)
    if starts[0] != 0 or (degrees < 0).any():
        raise ValueError("neighbourhoods are out of order")
    i = np.repeat(np.arange(n), degrees)
    j = entries["site"].astype(np.int64)
    lower = i > j
    if lower.sum() != m:
        raise ValueError(f"{lower.sum()} of {2 * m} neighbours precede their site, must be {m}")
    return offset, rows["bias"], i[lower], j[lower], entries["bias"][lower], at


def _terms(
    vartype: str, linear: Array, i: Array, j: Array, quadratic: Array, offset: float
) -> Terms:
    """J = -quadratic, h = -linear (SPIN), or by x = (1 + s) / 2 (BINARY)."""
    if vartype == "SPIN":
        return Terms(i, j, -quadratic, -linear, offset)
    if vartype != "BINARY":
        raise ValueError(f"vartype is {vartype!r}, allowed are 'SPIN' and 'BINARY'")
    sites = np.arange(linear.size)
    ends = np.concatenate([sites, i]), np.concatenate([sites, j])
    q = np.concatenate([linear, quadratic]).astype(np.float64)
    return qubo_terms(*ends, q, linear.size, offset)


def _labels(labels: Any) -> tuple[Hashable, ...] | None:
    """Labels as dimod keeps them, None for 0..n-1."""
    if labels is False:
        return None
    names: tuple[Hashable, ...] = nested_tuples(labels)
    return None if names == tuple(range(len(names))) else names
