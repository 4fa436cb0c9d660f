"""An IsingModel in one .npz file, bit by bit, and files that are whole or not there.

Arrays: `fields`; `dense`, or the CSR parts `data`, `indices`, `indptr`; `header`, a JSON text with
version, offset, labels and geometry (Python writes and reads the shortest decimals of a float64,
so they come back as the same bits).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy import sparse

from isingnpu.geometry import Geometry, Reference
from isingnpu.model import IsingModel

FilePath = str | os.PathLike[str]

_VERSION = 1


@contextmanager
def replacing(path: FilePath) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends; an error leaves no trace."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_file(path: FilePath, kind: str) -> Iterator[BinaryIO]:
    """`path` opened to read; whatever goes wrong with its content is one ValueError."""
    with open(path, "rb") as file:
        try:
            yield file
        except Exception as error:  # damage shows as any of a dozen classes of error
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            shown = reason if len(reason) <= 100 else reason[:100] + "..."
            raise ValueError(f"{path}: not {kind}, or a damaged one ({shown})") from error


def write_npz(path: FilePath, model: IsingModel) -> None:
    """Raises ValueError for a label that JSON cannot hold: numbers, strings, None and tuples of
    them are possible."""
    arrays = model_arrays(model)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def model_arrays(model: IsingModel) -> dict[str, Any]:
    """The model as named arrays; ValueError as `write_npz`."""
    for label in model.labels or ():
        _check_label(label)
    geometry = None if model.geometry is None else asdict(model.geometry)
    header = {
        "version": _VERSION,
        "offset": model.offset,
        "labels": model.labels,
        "geometry": geometry,
    }
    arrays: dict[str, Any] = {
        "header": np.array(json.dumps(header, default=_to_json)),
        "fields": model.fields,
    }
    if sparse.issparse(model.couplings):
        csr = model.couplings
        arrays |= {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}
    else:
        arrays["dense"] = model.couplings
    return arrays


def read_npz(path: FilePath) -> IsingModel:
    """The inverse of `write_npz`. Raises ValueError for a file that is not one, or damaged."""
    with whole_file(path, "an isingnpu model") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return model_from_arrays(dict(arrays))


def model_from_arrays(arrays: dict[str, Any]) -> IsingModel:
    """The inverse of `model_arrays`."""
    header = json.loads(str(arrays["header"]), object_hook=_from_json)
    if header["version"] != _VERSION:
        raise ValueError(f"version {header['version']}, allowed is {_VERSION}")
    if "dense" in arrays:
        couplings = arrays["dense"]
    else:
        parts = arrays["data"], arrays["indices"], arrays["indptr"]
        couplings = sparse.csr_array(parts, shape=(arrays["fields"].size,) * 2)
    geometry = header["geometry"]
    if geometry is not None:
        geometry = Geometry(**{name: nested_tuples(value) for name, value in geometry.items()})
    labels = nested_tuples(header["labels"])
    return IsingModel(couplings, arrays["fields"], header["offset"], labels, geometry)


def _check_label(label: object) -> None:
    try:
        back = nested_tuples(json.loads(json.dumps(label, default=_to_json)))
    except (TypeError, ValueError):
        back = None
    if back != label:
        raise ValueError(
            f"label {label!r} does not fit into JSON: allowed are numbers, strings, None, tuples"
        )


def _to_json(value: object) -> object:
    """Arrays with their dtype, NumPy numbers as Python's."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not fit into JSON")


def _from_json(value: dict[str, Any]) -> object:
    """The array or `Reference` that a JSON object stands for."""
    if value.keys() == {"dtype", "values"}:
        return np.array(value["values"], value["dtype"])
    if value.keys() == {"value", "error", "source"}:
        return Reference(**value)
    return value


def nested_tuples(value: Any) -> Any:
    """Lists as tuples, at every level."""
    return tuple(nested_tuples(item) for item in value) if isinstance(value, list) else value
