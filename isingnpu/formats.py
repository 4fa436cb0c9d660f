"""Files of Ising models.

| format | what it holds                           | sites                             |
|--------|-----------------------------------------|-----------------------------------|
| rudy   | weights w_ij of a max-cut graph (G-set) | 1..n in the file, 0..n-1 here     |
| coo    | dimod's COO text, SPIN or BINARY        | sorted integers, kept as labels   |
| qubo   | qbsolv's QUBO text                      | 0..n-1                            |
| bqm    | `dimod.BinaryQuadraticModel.to_file`    | dimod's labels                    |
| npz    | everything in an IsingModel, bit by bit | labels that JSON can hold         |

Signs: E(s) = - sum J_ij s_i s_j - sum h_i s_i + c here; in the files rudy maximises
cut = sum w_ij (1 - s_i s_j) / 2, so J = -w; coo and bqm have E = + sum b s s + sum b s + c; qubo
and BINARY coo have E = sum Q x x, x = (1 + s) / 2. An edge given twice counts twice: the values
are summed. coo and qubo have no place for c: it is written as a comment, `offset = c`, that only
`read` looks at. Windows line ends, blank lines and trailing blanks are allowed.

A fault in a file is one ValueError line, `G1.txt:7: edge has j = 900, allowed are 1..800`. A file
is written under a temporary name and renamed when it is whole.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from isingnpu.archive import FilePath, read_npz, replacing, whole_file, write_npz
from isingnpu.bqmfile import MAGIC, bqm_terms
from isingnpu.convert import Terms, qubo_arrays, qubo_terms
from isingnpu.couplings import Array
from isingnpu.lines import NUMBER, Lines, clip, numerals, read_lines
from isingnpu.model import IsingModel

FORMATS = ("rudy", "coo", "qubo", "bqm", "npz")

_SUFFIXES = {".rud": "rudy", ".mc": "rudy"} | {f".{name}": name for name in FORMATS}
_LIST = ", ".join(FORMATS)
_MAX_LABEL = (1 << 53) - 1
_OFFSET = re.compile(rf"[c#]\s*offset\s*=\s*({NUMBER})", re.ASCII | re.IGNORECASE)
_VARTYPE = re.compile(r"#.*?vartype[:=]\s*([-_.a-zA-Z0-9]+)")


def read(
    path: FilePath,
    format: str | None = None,
    *,
    maxcut: bool = True,
    vartype: str | None = None,
) -> IsingModel:
    """The model in a file; format is one of `FORMATS`, or None to tell by suffix and content.

    maxcut: see `read_rudy`; vartype: see `read_coo`; other formats take no notice of them.
    Raises ValueError naming file, line and value, FileNotFoundError."""
    readers: dict[str, Callable[[FilePath], IsingModel]] = {
        "rudy": partial(read_rudy, maxcut=maxcut),
        "coo": partial(read_coo, vartype=vartype),
        "qubo": read_qubo,
        "bqm": read_bqm,
        "npz": read_npz,
    }
    path = Path(path)
    return readers[_known(format) or _recognise(path)](path)


def write(
    path: FilePath,
    model: IsingModel,
    format: str | None = None,
    *,
    maxcut: bool = True,
) -> None:
    """Write a model; format is one of `FORMATS`, or None to tell by the suffix.

    maxcut: see `write_rudy`. Raises ValueError for what the format cannot hold; an existing file
    is then left as it was. Only npz keeps the geometry."""
    writers: dict[str, Callable[[FilePath, IsingModel], None]] = {
        "rudy": partial(write_rudy, maxcut=maxcut),
        "coo": write_coo,
        "qubo": write_qubo,
        "bqm": write_bqm,
        "npz": write_npz,
    }
    path = Path(path)
    name = _known(format) or _SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise ValueError(
            f"{path}: cannot tell the format by the suffix {path.suffix!r}; "
            f"pass format= one of {_LIST}"
        )
    writers[name](path, model)


def _known(format: str | None) -> str | None:
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {_LIST}, got {format!r}")
    return format


def _recognise(path: Path) -> str:
    """The format by magic bytes, else by suffix, else by the first line."""
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, name in ((MAGIC, "bqm"), (b"PK\x03\x04", "npz")):
        if start.startswith(magic):
            return name
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    lines = read_lines(path)
    first = lines.texts[0].split()
    if first[0] in ("c", "p"):
        return "qubo"
    if first[0].startswith("#") or len(first) == 3:
        return "coo"
    if len(first) == 2:
        return "rudy"
    shown = clip(lines.texts[0])
    raise lines.error(0, f"cannot tell the format by {shown}; pass format= one of {_LIST}")


# rudy.


def read_rudy(path: FilePath, maxcut: bool = True) -> IsingModel:
    """First line `n m`, then m lines `i j w`, or all of them `i j` with w = 1; 1 <= i, j <= n.

    maxcut: J_ij = -w_ij, so that the ground state is the maximum cut (`cut_value`); otherwise
    the weights are couplings, J_ij = +w_ij."""
    lines = read_lines(path)
    n, m = lines.counts(0, "n m", lines.texts[0].split())
    lines.check_count(1, m, "edges")
    i, j, w = lines.table(1, (1, n), loops=False, bare=True)
    return _model(path, Terms(i - 1, j - 1, -w if maxcut else w, np.zeros(n)))


def write_rudy(path: FilePath, model: IsingModel, maxcut: bool = True) -> None:
    """Weights w = -J, or w = +J if not maxcut. Raises ValueError if the model has fields, an
    offset, or labels that are not the site numbers."""
    _refuse_labels(model, "rudy")
    fields = np.flatnonzero(model.fields)
    if fields.size:
        k = fields[0]
        raise ValueError(f"rudy has no fields, got h[{k}] = {model.fields[k]}; use npz or bqm")
    if model.offset:
        raise ValueError(f"rudy has no offset, got {model.offset}; use npz or bqm")
    terms = model.terms
    weights = -terms.couplings if maxcut else terms.couplings
    header = f"{model.n} {terms.i.size}"
    _write_lines(path, [header], terms.i + 1, terms.j + 1, weights)


# COO.


def read_coo(path: FilePath, vartype: str | None = None) -> IsingModel:
    """Lines `i j b`, i >= 0; `i i b` is linear; comments start with #.

    vartype "SPIN" (E = sum b s s, so J = -b, h = -b) or "BINARY" (E = sum b x x) is needed if
    the file has no header `# vartype=SPIN`, and must be the same if it has. Sites are the
    integers that occur, in increasing order; they become labels unless they are 0..n-1."""
    comments, entries = read_lines(path).partition("#")
    binary = _coo_vartype(path, comments, vartype) == "BINARY"
    u, v, b = entries.table(0, (0, _MAX_LABEL))
    sites, index = np.unique(np.concatenate([u, v]), return_inverse=True)
    i, j = index.reshape(2, -1)  # (ends, entries)
    if binary:
        terms = qubo_terms(i, j, b, sites.size, 0.0)
    else:
        pair = i != j
        h = np.bincount(i[~pair], -b[~pair], sites.size)
        terms = Terms(i[pair], j[pair], -b[pair], h)
    labels = None if np.array_equal(sites, np.arange(sites.size)) else sites.tolist()
    return _model(path, replace(terms, offset=terms.offset + _offset(comments), labels=labels))


def _coo_vartype(path: FilePath, comments: Lines, vartype: str | None) -> str:
    allowed = ("SPIN", "BINARY")
    if vartype is not None and vartype not in allowed:
        raise ValueError(f"vartype must be 'SPIN' or 'BINARY', got {vartype!r}")
    for k, text in enumerate(comments.texts):
        if found := _VARTYPE.match(text):
            if found[1] not in allowed:
                raise comments.error(k, f"vartype is {clip(found[1])}, allowed are SPIN, BINARY")
            if vartype not in (None, found[1]):
                raise comments.error(k, f"vartype is {found[1]}, but {vartype} was asked for")
            vartype = found[1]
    if vartype is None:
        raise ValueError(
            f"{path}:1: no header '# vartype=SPIN'; write it as the first line, or pass "
            "vartype='SPIN' or 'BINARY' to formats.read"
        )
    return vartype


def write_coo(path: FilePath, model: IsingModel) -> None:
    """SPIN biases b = -J, -h in site order. Raises ValueError for labels that are not whole
    numbers >= 0."""
    for k, label in enumerate(model.variables):
        if not (isinstance(label, int | np.integer) and 0 <= label <= _MAX_LABEL):
            raise ValueError(
                f"coo labels are whole numbers >= 0, got {label!r} at site {k}; use npz or bqm, "
                "or drop the labels: dataclasses.replace(model, labels=None)"
            )
    terms = model.terms
    names = np.array(terms.names, np.int64)
    header = ["# vartype=SPIN"] + ([f"# offset={model.offset!r}"] if model.offset else [])
    values = -np.concatenate([terms.fields, terms.couplings])
    i = np.concatenate([names, names[terms.i]])
    j = np.concatenate([names, names[terms.j]])
    _write_lines(path, header, i, j, values)


# QUBO.


def read_qubo(path: FilePath) -> IsingModel:
    """qbsolv's format: comments `c`, then `p qubo 0 maxNodes nNodes nCouplers`, then nNodes lines
    `i i v` and nCouplers lines `i j v`, 0 <= i, j < maxNodes; E = sum v x_i x_j is minimised.

    Nodes without a line have no term. D-Wave, "qbsolv input file format"."""
    comments, lines = read_lines(path).partition("c")
    words = lines.texts[0].split() if lines.texts else []
    if words[:2] != ["p", "qubo"] or words[2:3] not in (["0"], ["unconstrained"]):
        first = lines if lines.texts else comments
        raise first.error(
            0, f"expected 'p qubo 0 maxNodes nNodes nCouplers', got {clip(first.texts[0])}"
        )
    n, nodes, couplers = lines.counts(0, "maxNodes nNodes nCouplers", words[3:])
    lines.check_count(1, nodes + couplers, f"lines ({nodes} nodes, {couplers} couplers)")
    i, j, v = lines.table(1, (0, n - 1))
    diagonal = int((i == j).sum())
    if diagonal != nodes:
        raise lines.error(
            0, f"header has nNodes = {nodes}, but {diagonal} lines are nodes 'i i v'"
        )
    return _model(path, qubo_terms(i, j, v, n, _offset(comments)))


def write_qubo(path: FilePath, model: IsingModel) -> None:
    """Raises ValueError for labels that are not the site numbers."""
    _refuse_labels(model, "qubo")
    i, j, q, constant = qubo_arrays(model.terms)
    header = [f"c offset={constant!r}"] if constant else []
    header.append(f"p qubo 0 {model.n} {model.n} {i.size - model.n}")
    _write_lines(path, header, i, j, q)


def _offset(comments: Lines) -> float:
    """Sum of the comments `offset = c`."""
    found = (_OFFSET.fullmatch(text) for text in comments.texts)
    return sum(float(match[1]) for match in found if match)


def _refuse_labels(model: IsingModel, format: str) -> None:
    for k, label in enumerate(model.variables):
        if label != k:
            raise ValueError(
                f"{format} has no labels, got {label!r} at site {k}; use npz or bqm, "
                "or drop the labels: dataclasses.replace(model, labels=None)"
            )


def _write_lines(path: FilePath, header: list[str], i: Array, j: Array, values: Array) -> None:
    """The header and one line `i j value` per entry."""
    entries = zip(i.tolist(), j.tolist(), numerals(values), strict=True)
    lines = header + [f"{u} {v} {value}" for u, v, value in entries]
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def _model(path: FilePath, terms: Terms) -> IsingModel:
    try:
        return IsingModel.from_terms(terms)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


# Binary files.


def read_bqm(path: FilePath) -> IsingModel:
    """A file of `dimod.BinaryQuadraticModel.to_file`, of either vartype."""
    with whole_file(path, "a dimod BQM") as file:
        return IsingModel.from_terms(bqm_terms(file.read()))


def write_bqm(path: FilePath, model: IsingModel) -> None:
    """The SPIN model of `to_bqm`."""
    with replacing(path) as file, model.to_bqm().to_file() as content:
        shutil.copyfileobj(content, file)
