"""Files and models: published instances, dimod's readers, round trips, and every kind of fault."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import dimod
import networkx as nx
import numpy as np
import pytest
from dimod.serialization import coo
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from isingnpu.formats import FORMATS, read, write
from isingnpu.geometry import Geometry, Reference
from isingnpu.model import IsingModel
from tests.strategies import all_states, dyadic, law, models, real, same

DATA = Path(os.environ.get("ISINGNPU_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("formats")


def text_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# Published instances: G-set, table in the data's README.

GSET = [  # name, n, m, greatest degree, first digits of the file's SHA-256
    ("G1", 800, 19176, 67, "73bf704d8ffc55ba"),
    ("G6", 800, 19176, 67, "e3dd8b29205280f1"),
    ("G11", 800, 1600, 4, "c2a760d2926db4fe"),
    ("G14", 800, 4694, 132, "dc769b978a40d458"),
    ("G22", 2000, 19990, 37, "9baeee06eb147b1c"),
    ("G32", 2000, 4000, 4, "9760fce6b601832d"),
    ("G35", 2000, 11778, 210, "3df35a2abbe8b73a"),
    ("G43", 1000, 9990, 36, "9af5445b4b066cbf"),
    ("G48", 3000, 6000, 4, "2c2daba39d1f1ff1"),
    ("G55", 5000, 12498, 15, "7537bbb613a6e6d0"),
    ("G60", 7000, 17148, 14, "0fcac2f2d882305d"),
    ("G63", 7000, 41459, 589, "a1d08e1eed7a32c4"),
    ("G70", 10000, 9999, 9, "0d965a2ff1444cc7"),
    ("G77", 14000, 28000, 4, "b90932aa0d671319"),
    ("G81", 20000, 40000, 4, "74e69d2f5228774c"),
]


def gset(name: str) -> Path:
    path = DATA / "gset" / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"{path} is absent; ISINGNPU_DATA names the folder that has gset/")
    return path


@pytest.mark.parametrize(("name", "n", "m", "degree", "digest"), GSET)
def test_gset_file_has_its_published_size(
    name: str, n: int, m: int, degree: int, digest: str
) -> None:
    path = gset(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    model = read(path)
    assert (model.n, model.n_edges, model.field_bound) == (n, m, degree)
    assert set(np.unique(model.csr.data)) <= {-1, 1}


def test_maximum_cut_of_g48_is_its_number_of_edges() -> None:
    model = read(gset("G48"))  # bipartite: the proven optimum is 6000
    up, _ = model.colours
    spins = np.full(model.n, -1)
    spins[up] = 1
    assert model.cut_value(spins) == 6000
    assert model.energy(spins) == -6000


# Signs, against hand-made files and dimod.


def test_lowest_energy_of_a_rudy_file_is_its_maximum_cut(tmp_path: Path) -> None:
    edges = [(1, 2, 3), (2, 3, -1), (1, 3, 2), (3, 4, 5), (1, 4, -2)]
    text = "4 5\n" + "".join(f"{i} {j} {w}\n" for i, j, w in edges)
    model = read(text_file(tmp_path / "a.txt", text))
    graph = nx.Graph()
    graph.add_weighted_edges_from(edges)
    states = all_states(4)
    cuts = [
        nx.cut_size(graph, [v + 1 for v in range(4) if s[v] == 1], weight="weight") for s in states
    ]
    assert model.cut_value(states).tolist() == cuts
    assert model.energy(states).argmin() == np.argmax(cuts)
    assert read(tmp_path / "a.txt", maxcut=False).dense.tolist() == (-model.dense).tolist()


def test_rudy_weights_default_to_one(tmp_path: Path) -> None:
    with_weights = read(text_file(tmp_path / "a.rudy", "3 2\n1 2 1\n2 3 1\n"))
    assert same(read(text_file(tmp_path / "b.rudy", "3 2\n1 2\n2 3\n")), with_weights)


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_coo_energies_are_those_of_dimod(tmp_path: Path, vartype: str) -> None:
    body = "2 2 0.5\n0 2 -1.25\n7 2 3\n2 0 0.75\n7 7 -2\n7 7 1\n"
    bqm = coo.loads(body, vartype=dimod.Vartype[vartype])
    with_header = text_file(tmp_path / "a.coo", f"# vartype={vartype}\n{body}")
    without = text_file(tmp_path / "b.coo", body)
    for model in (read(with_header), read(without, vartype=vartype)):
        assert model.labels == (0, 2, 7)
        states = all_states(3)
        samples = states if vartype == "SPIN" else (states + 1) // 2
        assert model.energy(states).tolist() == bqm.energies((samples, [0, 2, 7])).tolist()


@law
@given(model=models(real))
def test_dimod_reads_the_coo_files(folder: Path, model: IsingModel) -> None:
    model = replace(model, labels=None, offset=0.0)
    write(folder / "a.coo", model)
    assert coo.loads((folder / "a.coo").read_text()) == model.to_bqm()


def test_qubo_energies_are_the_sum_over_the_lines(tmp_path: Path) -> None:
    text = "c by hand\np qubo 0 4 2 3\n0 0 3.5\nc between\n2 2 -1\n0 1 2\n0 2 -4.25\n2 1 1e0\n"
    model = read(text_file(tmp_path / "a.qubo", text))
    for s in all_states(4):
        x = (s.astype(int) + 1) // 2
        value = 3.5 * x[0] - x[2] + 2 * x[0] * x[1] - 4.25 * x[0] * x[2] + x[2] * x[1]
        assert model.energy(s) == value


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [(0, 1, 2), ("a", ("b", (1, 2)), 5)])
def test_bqm_files_of_dimod_have_its_energies(
    tmp_path: Path, version: int, vartype: str, dtype: type, labels: tuple[Any, ...]
) -> None:
    a, b, c = labels
    bqm = dimod.BinaryQuadraticModel(
        {a: 1.5, b: 0, c: -2}, {(b, a): 0.25, (c, a): -3}, 0.75, vartype, dtype=dtype
    )
    with bqm.to_file(version=version) as file:
        (tmp_path / "model").write_bytes(file.read())
    model = read(tmp_path / "model")
    assert model.variables == tuple(bqm.variables)
    states = all_states(3)
    samples = states if vartype == "SPIN" else (states + 1) // 2
    assert model.energy(states).tolist() == bqm.energies((samples, bqm.variables)).tolist()


@law
@given(model=models(real))
def test_dimod_reads_the_bqm_files(folder: Path, model: IsingModel) -> None:
    write(folder / "a.bqm", model)
    content = (folder / "a.bqm").read_bytes()
    assert dimod.BinaryQuadraticModel.from_file(content) == model.to_bqm()


# Round trips.


@law
@given(model=models(real, fields=False), maxcut=st.booleans())
def test_rudy_file_and_back_is_the_model(folder: Path, model: IsingModel, maxcut: bool) -> None:
    model = replace(model, labels=None)
    write(folder / "a.rudy", model, maxcut=maxcut)
    assert same(read(folder / "a.rudy", maxcut=maxcut), model)


@law
@given(model=models(real), labels=st.lists(st.integers(0, 2**53 - 1), unique=True, min_size=7))
def test_coo_file_and_back_is_the_model(
    folder: Path, model: IsingModel, labels: list[int]
) -> None:
    model = replace(model, labels=tuple(labels[: model.n]))
    write(folder / "a.coo", model)
    assert same(read(folder / "a.coo"), model)


@law
@given(model=models(dyadic))
def test_qubo_file_and_back_is_the_model(folder: Path, model: IsingModel) -> None:
    model = replace(model, labels=None)
    write(folder / "a.qubo", model)
    assert same(read(folder / "a.qubo"), model)


@law
@given(model=models(real))
def test_bqm_file_and_back_is_the_model(folder: Path, model: IsingModel) -> None:
    write(folder / "a.bqm", model)
    assert same(read(folder / "a.bqm"), model)


@law
@given(model=models(real), dense=st.booleans())
def test_npz_file_and_back_is_the_model_bit_by_bit(
    folder: Path, model: IsingModel, dense: bool
) -> None:
    model = replace(model, couplings=model.dense) if dense else model
    write(folder / "a.npz", model)
    back = read(folder / "a.npz")
    assert back.labels == model.labels
    assert back.offset.hex() == model.offset.hex()
    assert sparse.issparse(back.couplings) == sparse.issparse(model.couplings)
    for a, b in ((back.dense, model.dense), (back.fields, model.fields)):
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())


def test_npz_keeps_the_geometry(tmp_path: Path) -> None:
    geometry = Geometry(
        "honeycomb",
        (1, 1),
        ("open", "periodic"),
        np.array([[1, 0], [0.5, 0.75**0.5]]),
        np.array([[0, 0], [0.5, 1 / 12**0.5]]),
        3.0,
        1,
        Reference(-1.5, 0.0, "exact"),
        np.array([1, -1], np.int8),
        Reference(float("inf"), 1e-9, "none"),
    )
    write(tmp_path / "a.npz", IsingModel.from_edges([(0, 1, 1)], geometry=geometry))
    back = read(tmp_path / "a.npz").geometry
    assert back is not None
    for field in fields(Geometry):
        was, found = getattr(geometry, field.name), getattr(back, field.name)
        if isinstance(was, np.ndarray):
            assert (found.dtype, found.tolist()) == (was.dtype, was.tolist())
        else:
            assert (type(found), found) == (type(was), was)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_model_survives_every_format(tmp_path: Path, name: str) -> None:
    write(tmp_path / "empty", IsingModel.from_edges([], 0), name)
    assert read(tmp_path / "empty", name).n == 0


def test_content_tells_the_format(tmp_path: Path) -> None:
    model = IsingModel.from_edges([(0, 1, 2), (1, 2, -3)])
    for name in FORMATS:
        write(tmp_path / "unnamed", model, name)
        assert same(read(tmp_path / "unnamed"), model)


@pytest.mark.parametrize("name", ["rudy", "coo", "qubo"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " \t\n\n"),
        lambda text: "\n  " + text.rstrip("\n"),
        lambda text: "\ufeff" + text,
    ],
    ids=["Windows", "blanks", "no last newline", "byte order mark"],
)
def test_line_ends_and_blanks_do_not_matter(
    tmp_path: Path, name: str, change: Callable[[str], str]
) -> None:
    model = IsingModel.from_edges([(0, 1, 2), (1, 2, -3), (0, 2, 0.5)])
    write(tmp_path / "a.txt", model, name)
    text_file(tmp_path / "b.txt", change((tmp_path / "a.txt").read_text()))
    assert same(read(tmp_path / "b.txt", name), model)


def test_repeated_edges_of_a_file_add_up(tmp_path: Path) -> None:
    assert read(text_file(tmp_path / "a.rudy", "2 2\n1 2 3\n2 1 4\n")).dense[0, 1] == -7
    header = "# vartype=SPIN\n"
    assert read(text_file(tmp_path / "a.coo", header + "0 1 3\n1 0 4\n")).dense[0, 1] == -7
    qubo = read(text_file(tmp_path / "a.qubo", "p qubo 0 2 0 2\n0 1 3\n1 0 5\n"))
    assert qubo.dense[0, 1] == -2
