"""A machine in one .npz file: its description as JSON, its couplings bit by bit."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath, replacing, whole_file

_VERSION = 1


def write_machine(
    path: FilePath, kind: str, description: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    """Write to a temporary name and rename: the file is whole or not there. `description` must
    fit into JSON; couplings are stored as they are."""
    header = json.dumps({"version": _VERSION, "kind": kind, **description}, allow_nan=False)
    with replacing(path) as file:
        stored: dict[str, Any] = {f"a:{name}": array for name, array in arrays.items()}
        np.savez(file, header=np.array(header), **stored)


def machine_kind(path: FilePath) -> str:
    """What a file of `write_machine` holds; ValueError for another file."""
    with whole_file(path, "a saved machine") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return str(json.loads(str(stored["header"]))["kind"])


def read_machine(path: FilePath, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(description, arrays) of a file of that kind; ValueError for another, or a damaged one."""
    with whole_file(path, f"a saved {kind}") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            if (header.pop("version"), header["kind"]) != (_VERSION, kind):
                raise ValueError(f"it holds a {header['kind']}")
            arrays = {k[2:]: stored[k] for k in stored.files if k.startswith("a:")}
    del header["kind"]
    return header, arrays
