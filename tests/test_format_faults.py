"""Faults in files: one line that names file, line and value, and no file left half written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isingnpu.formats import FORMATS, read, write
from isingnpu.model import IsingModel

CHAIN = IsingModel.from_edges([(0, 1, 1.5), (1, 2, -2), (2, 3, 0.5)], 5)
FULL = IsingModel(
    CHAIN.couplings, np.array([0.5, 0, 0, 1, -1]), 2.5, ("a", 1, ("b", 2), None, "c")
)

FAULTS = [  # format, content, what follows the file's name
    ("rudy", "3 2\n1 2 1\n1 4 1\n", ":3: edge has j = 4, allowed are 1..3"),
    ("rudy", "3 2\n0 2 1\n1 3 1\n", ":2: edge has i = 0, allowed are 1..3"),
    ("rudy", "3 2\n1 2 1\n1 2.5 1\n", ":3: edge has j = 2.5, allowed are 1..3"),
    ("rudy", "3 2\n1 2 1\n\n\n3 3 1\n", ":5: edge is a self-loop: 3 3;"),
    ("rudy", "3 2\n1 2 nan\n1 3 1\n", ":2: edge has w = nan, must be finite"),
    ("rudy", "3 2\n1 2 1\n1 3 -inf\n", ":3: edge has w = -inf, must be finite"),
    ("rudy", "3 2\n1 2 1\n1 3 1e999\n", ":3: edge has w = inf, must be finite"),
    ("rudy", "3 2\n1 2 1\n1 3 1,5\n", ":3: edge has w = '1,5', must be a number"),
    ("rudy", "3 2\n1 2 1\n1 3 1_0\n", ":3: edge has w = '1_0', must be a number"),
    ("rudy", "3 2\n1 2 1\n1 3\n", ":3: edge must be 'i j w', got '1 3'"),
    ("rudy", "3 2\n1 2\n1 3 1\n", ":3: edge must be 'i j', got '1 3 1'"),
    ("rudy", "3 2\n1 2 1 1\n1 3 1 1\n", ":2: edge must be 'i j w', got '1 2 1 1'"),
    ("rudy", "3 1\n1\n", ":2: edge must be 'i j w', got '1'"),
    ("rudy", "3 3\n1 2 1\n1 3 1\n", ":3: expected 3 edges, found 2; the file is truncated"),
    ("rudy", "3 3\n", ":1: expected 3 edges, found 0; the file is truncated"),
    ("rudy", "3 1\n1 2 1\n\nend\n", ":4: expected 1 edges, found 2; from here on are too many"),
    ("rudy", "3 -1\n", ":1: header has m = -1, allowed are 0..2147483647"),
    ("rudy", "9999999999 1\n1 2 1\n", ":1: header has n = 9999999999, allowed are"),
    ("rudy", "3\n1 2 1\n", ":1: header must be whole numbers n m, got '3'"),
    ("rudy", "3 x\n1 2 1\n", ":1: header must be whole numbers n m, got '3 x'"),
    ("rudy", "3 " + "1" * 5000, ":1: header must be whole numbers n m, got '3 111"),
    ("rudy", "3 2\n1 2 1e308\n1 3 1e308\n", ": couplings as large as 1e+308 add up"),
    ("rudy", "", ":1: the file is empty"),
    ("rudy", " \n\r\n", ":1: the file is empty"),
    ("rudy", b"3 1\n1 2 \xff\n", ":2: byte 0xff is not text"),
    ("rudy", b"\x00\x01\n\x02", ":1: header must be whole numbers n m, got '\\x00\\x01'"),
    ("coo", "0 1 1\n", ":1: no header '# vartype=SPIN'; write it as the first line"),
    ("coo", "# vartype=OCTAL\n0 1 1\n", ":1: vartype is 'OCTAL', allowed are SPIN, BINARY"),
    (
        "coo",
        "# a\n# vartype=SPIN\n# vartype=BINARY\n",
        ":3: vartype is BINARY, but SPIN was asked",
    ),
    ("coo", "# vartype=SPIN\n0 -1 1\n", ":2: edge has j = -1, allowed are 0..9007199254740991"),
    ("coo", "# vartype=SPIN\n0 1 1\n0 1\n", ":3: edge must be 'i j w', got '0 1'"),
    ("coo", "# vartype=SPIN\n0 0 nan\n", ":2: edge has w = nan, must be finite"),
    ("qubo", "c only this\n", ":1: expected 'p qubo 0 maxNodes nNodes nCouplers', got 'c only"),
    ("qubo", "0 0 1\n", ":1: expected 'p qubo 0 maxNodes nNodes nCouplers', got '0 0 1'"),
    ("qubo", "p qubo chimera128 2 0 0\n", ":1: expected 'p qubo 0 maxNodes"),
    (
        "qubo",
        "p qubo 0 2 1\n0 0 1\n",
        ":1: header must be whole numbers maxNodes nNodes nCouplers",
    ),
    ("qubo", "p qubo 0 2 -1 1\n0 1 1\n", ":1: header has nNodes = -1"),
    ("qubo", "p qubo 0 2 1 1\n0 0 1\n", ":2: expected 2 lines (1 nodes, 1 couplers), found 1;"),
    ("qubo", "p qubo 0 2 1 1\n0 0 1\n1 1 1\n", ":1: header has nNodes = 1, but 2 lines are nodes"),
    ("qubo", "p qubo 0 2 1 1\nc x\n0 0 1\n0 2 1\n", ":4: edge has j = 2, allowed are 0..1"),
    ("bqm", "DIMODBQM", ": not a dimod BQM, or a damaged one (IndexError"),
    (
        "bqm",
        "DIMODCQM",
        ": not a dimod BQM, or a damaged one (ValueError: starts with b'DIMODCQM'",
    ),
    (
        "bqm",
        b"DIMODBQM\x09\x00",
        ": not a dimod BQM, or a damaged one (ValueError: version (9,",
    ),
    ("npz", "PK\x03\x04", ": not an isingnpu model, or a damaged one (ValueError: no zip"),
    ("npz", "", ": not an isingnpu model, or a damaged one (ValueError: no zip"),
]


def fault(path: Path, format: str | None, **options: Any) -> str:
    """The message of the ValueError that reading makes: one line, the file's name first."""
    with pytest.raises(ValueError, match=r".") as caught:
        read(path, format, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    assert len(message) < len(str(path)) + 200
    return message.removeprefix(str(path))


@pytest.mark.parametrize(("name", "content", "expected"), FAULTS)
def test_fault_names_file_line_and_value(
    tmp_path: Path, name: str, content: str | bytes, expected: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert fault(path, name).startswith(expected)


def test_vartype_must_be_that_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.coo"
    path.write_text("# vartype=SPIN\n0 1 1\n")
    assert fault(path, None, vartype="BINARY") == ":1: vartype is SPIN, but BINARY was asked for"
    with pytest.raises(ValueError, match=r"'SPIN' or 'BINARY', got 'spin'"):
        read(path, vartype="spin")


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 2 3 4 5\n")
    allowed = "rudy, coo, qubo, bqm, npz"
    expected = f":1: cannot tell the format by '1 2 3 4 5'; pass format= one of {allowed}"
    assert fault(path, None) == expected
    with pytest.raises(ValueError, match=f"format must be one of {allowed}, got 'json'"):
        read(path, "json")
    with pytest.raises(ValueError, match=f"by the suffix '.txt'; pass format= one of {allowed}"):
        write(path, CHAIN)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_file_is_not_found(tmp_path: Path, name: str) -> None:
    for format in (name, None):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / f"absent.{name}", format)


def saved(path: Path, name: str) -> bytes:
    write(path, FULL if name in ("bqm", "npz") else CHAIN, name)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["bqm", "npz"])
def test_every_truncation_of_a_binary_file_is_a_fault(tmp_path: Path, name: str) -> None:
    content = saved(tmp_path / "a", name)
    for length in range(0, len(content), 3):
        (tmp_path / "a").write_bytes(content[:length])
        fault(tmp_path / "a", name)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_bytes_give_a_model_or_a_fault(tmp_path: Path, name: str) -> None:
    content = saved(tmp_path / "a", name)
    rng = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = rng.integers(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            read(tmp_path / "a", name)
        except ValueError:
            fault(tmp_path / "a", name)


BQM_INDEX_FAULTS = [  # row, what its index is made, what the error says
    (0, 1, "ValueError: neighbourhoods are out of order"),
    (2, 7, "ValueError: neighbourhoods are out of order"),
    (5, -1, "ValueError: 4 of 6 neighbours precede their site, must be 3"),
    (6, 3, "ValueError: 2 of 6 neighbours precede their site, must be 3"),
    (6, -1, "ValueError: edge 0 has j = -1, allowed are 0..4"),
]


@pytest.mark.parametrize(("row", "value", "expected"), BQM_INDEX_FAULTS)
def test_indices_in_a_bqm_file_are_checked(
    tmp_path: Path, row: int, value: int, expected: str
) -> None:
    write(tmp_path / "a.bqm", CHAIN)
    content = bytearray((tmp_path / "a.bqm").read_bytes())
    body = 14 + int.from_bytes(content[10:14], "little") + 8  # after the header and the offset
    # five rows of sites (start, bias), then six of neighbours (site, bias)
    rows = np.frombuffer(content, [("index", "<i4"), ("bias", "<f8")], 11, body)
    rows["index"][row] = value
    (tmp_path / "a.bqm").write_bytes(content)
    assert expected in fault(tmp_path / "a.bqm", "bqm")


REFUSED = [  # format, model, what the error says
    ("rudy", IsingModel.from_edges([], 2, fields=[0, 0.5]), r"no fields, got h\[1\] = 0.5"),
    ("rudy", IsingModel.from_edges([], 2, offset=1.5), "no offset, got 1.5"),
    ("rudy", IsingModel.from_edges([], 2, labels="ab"), "no labels, got 'a' at site 0"),
    ("qubo", IsingModel.from_edges([], 2, labels=(0, 2)), "no labels, got 2 at site 1"),
    ("coo", IsingModel.from_edges([], 2, labels=(0, -2)), "whole numbers >= 0, got -2 at site 1"),
    (
        "coo",
        IsingModel.from_edges([], 2, labels=(0, "b")),
        "whole numbers >= 0, got 'b' at site 1",
    ),
    ("npz", IsingModel.from_edges([], 1, labels=[frozenset()]), "does not fit into JSON"),
    ("npz", IsingModel.from_edges([], 2, labels=(0, float("nan"))), "label nan does not fit"),
]


@pytest.mark.parametrize(("name", "model", "message"), REFUSED)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, model: IsingModel, message: str
) -> None:
    before = saved(tmp_path / "kept", name)
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "kept", model, name)
    assert (tmp_path / "kept").read_bytes() == before
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("name", FORMATS)
def test_interrupted_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved(tmp_path / "kept", name)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)  # the content is written, the name not yet given
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "kept", CHAIN, name)
    assert (tmp_path / "kept").read_bytes() == before
    assert os.listdir(tmp_path) == ["kept"]


def test_forty_thousand_edges_are_read_in_less_than_half_a_second(tmp_path: Path) -> None:
    n = 20_000
    sites = np.arange(n)
    ends = np.concatenate([sites, sites]), np.concatenate([(sites + 1) % n, (sites + 100) % n])
    write(tmp_path / "a.rudy", IsingModel.from_edges((*ends, np.ones(2 * n))))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert read(tmp_path / "a.rudy").n_edges == 2 * n
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_reading_imports_neither_dimod_nor_networkx(tmp_path: Path) -> None:
    write(tmp_path / "a.bqm", FULL)
    program = (
        "import sys; from isingnpu.formats import read; read(sys.argv[1])\n"
        "assert not {'dimod', 'networkx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.bqm")], check=True)
