"""A saved run is the run; its views for other libraries hold the same numbers."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from isingnpu import IsingModel, Run, ShortChain, anneal, lattice, resume, sample
from isingnpu.archive import write_npz
from isingnpu.observables import NAMES

LABELS = ("a", "b", 7, (0, 1), (2, ("x",)), "", -1.5, *range(100, 105))
ORDER = tuple(np.random.default_rng(1).permutation(12).tolist())
MODEL = dataclasses.replace(lattice.square((3, 4), h=0.25), labels=LABELS, offset=1.5)
QUICK = {"sweeps": 20, "replicas": 4, "seed": 5}


@pytest.fixture(scope="module")
def run():
    """Annealing of a labelled lattice in an order of its own, everything observed."""
    return anneal(
        MODEL, **QUICK, first_replica=3, observe=NAMES, every=2, layout="lane", order=ORDER
    )


def unequal(a, b, path=""):
    """Paths of the fields in which two nests of dataclasses, arrays and tuples differ."""
    if type(a) is not type(b):
        return [f"{path}: {type(a).__name__}, {type(b).__name__}"]
    if hasattr(a, "tocsr"):
        return unequal((a.data, a.indices, a.indptr), (b.data, b.indices, b.indptr), path)
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        pairs = [(getattr(a, n), getattr(b, n), f"{path}.{n}") for n in names]
    elif isinstance(a, dict):
        if list(a) != list(b):
            return [f"{path}: {list(a)}, {list(b)}"]
        pairs = [(a[k], b[k], f"{path}.{k}") for k in a]
    elif isinstance(a, np.ndarray):
        alike = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return [] if alike else [path]
    elif isinstance(a, tuple | list) and len(a) == len(b):
        pairs = [(x, y, f"{path}[{k}]") for k, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return [] if a == b else [path]
    return [fault for pair in pairs for fault in unequal(*pair)]


def saved_header(file):
    with np.load(file) as stored:
        arrays = dict(stored)
    return arrays, json.loads(str(arrays["header"]))


def test_a_saved_run_comes_back_equal_in_every_field(run, tmp_path):
    run.save(tmp_path / "a")
    back = Run.load(tmp_path / "a")
    assert unequal(run, back) == []
    assert back.settings.order == ORDER
    assert back.settings.observe == NAMES
    assert back.model.geometry.family == "square"


@pytest.mark.parametrize("kind", ["dense", "plain", "betas per replica", "no samples"])
def test_other_runs_come_back_equal_too(kind, tmp_path):
    plain = IsingModel.from_edges([(0, 1, 0.5), (1, 2, -2)], 3)
    made = {
        "dense": lambda: sample(IsingModel.from_dense(MODEL.dense), 0.4, **QUICK),
        "plain": lambda: sample(plain, 0.4, **QUICK),
        "betas per replica": lambda: anneal(plain, np.ones((9, 4)), replicas=4, seed=1),
        "no samples": lambda: sample(plain, 0.4, **QUICK, every=21),
    }[kind]()
    made.save(tmp_path / "a")
    assert unequal(made, Run.load(tmp_path / "a")) == []


def test_a_loaded_run_resumes_as_the_one_in_memory(run, tmp_path):
    run.save(tmp_path / "a")
    here, there = resume(run, sweeps=6), resume(tmp_path / "a.npz", sweeps=6)
    assert unequal(here.state, there.state) == []
    assert unequal(here.series, there.series) == []


@pytest.mark.parametrize("name", ["a", "a.npz", "a.json"])
def test_a_path_names_both_files_with_or_without_suffix(run, tmp_path, name):
    run.save(tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {"a.npz", "a.json"}
    assert Run.load(tmp_path / name).stopped == "finished"


def test_a_point_in_a_name_is_part_of_it(run, tmp_path):
    run.save(tmp_path / "beta0.5")
    assert {p.name for p in tmp_path.iterdir()} == {"beta0.5.npz", "beta0.5.json"}


def test_a_write_that_fails_leaves_the_old_file_and_no_other(run, tmp_path, monkeypatch):
    run.save(tmp_path / "a")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    for name in ("a", "new"):
        with pytest.raises(OSError, match="No space left"):
            resume(run, sweeps=2).save(tmp_path / name)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_sidecar_is_strict_json_and_equal_to_the_header_in_the_arrays(run, tmp_path):
    run.save(tmp_path / "a")

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    told = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert told == saved_header(tmp_path / "a.npz")[1]
    assert told["settings"]["seed"] == 5
    assert told["format"] == 1


def test_a_model_file_is_refused_as_a_run(tmp_path):
    write_npz(tmp_path / "model.npz", MODEL)
    with pytest.raises(ValueError, match=r"model\.npz: not a saved Run .*isingnpu\.read"):
        Run.load(tmp_path / "model.npz")


def test_a_format_of_the_future_is_refused_by_its_number(run, tmp_path):
    run.save(tmp_path / "a")
    arrays, header = saved_header(tmp_path / "a.npz")
    arrays["header"] = np.array(json.dumps({**header, "format": 99}))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"a\.npz: format 99, this version reads 1"):
        Run.load(tmp_path / "a")


def test_spins_are_the_best_of_annealing_and_the_last_of_sampling(run):
    sampled = sample(MODEL, 0.3, **QUICK)
    assert run.spins is run.state.best
    assert sampled.spins is sampled.state.spins
    assert (run.energies <= MODEL.energy(run.state.spins)).all()


def test_best_is_the_first_read_of_lowest_energy(run):
    state, energy = run.best
    energies = MODEL.energy(run.spins).tolist()
    assert energy == min(energies)
    assert np.array_equal(state, run.spins[energies.index(min(energies))])


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_a_sampleset_has_the_labels_states_and_energies_of_the_run(run, vartype):
    dimod = pytest.importorskip("dimod")
    found = run.to_sampleset(vartype)
    assert found.vartype is dimod.as_vartype(vartype)
    assert set(found.variables) == set(LABELS)
    columns = [found.variables.index(label) for label in LABELS]
    states = found.record.sample[:, columns]
    assert np.array_equal(states if vartype == "SPIN" else 2 * states - 1, run.spins)
    assert found.record.energy.tolist() == run.energies.tolist()
    bqm = MODEL.to_bqm().change_vartype(vartype, inplace=False)
    np.testing.assert_allclose(bqm.energies(found), found.record.energy, rtol=0, atol=1e-12)


def test_an_xarray_dataset_names_its_dimensions(run):
    pytest.importorskip("xarray")
    data = run.to_xarray()
    assert set(data.data_vars) == {*NAMES, "spins", "energies"}
    assert data["energy"].dims == ("replica", "sample")
    assert data["overlap"].dims == ("pair", "sample")
    assert data["spins"].dims == ("replica", "site")
    assert dict(data.sizes) == {"replica": 4, "sample": 10, "pair": 2, "site": 12}
    assert data["replica"].values.tolist() == [3, 4, 5, 6]
    assert np.array_equal(data["energy"].values, run.series["energy"])
    assert data.attrs == {"schedule": "linear-T+quench", "stopped": "finished"}


def test_an_estimate_is_that_of_the_recorded_series():
    long = sample(lattice.chain(6), 0.1, sweeps=2000, replicas=2, seed=1, observe="energy")
    found = long.estimate("energy")
    assert found.value == pytest.approx(long.series["energy"].mean(), rel=1e-12)
    assert found.error > 0


def test_an_estimate_of_a_short_run_is_refused(run):
    with pytest.raises(ShortChain):
        run.estimate("energy")


@pytest.mark.parametrize(("observe", "told"), [(("energy", "m2"), "energy, m2"), ((), "none")])
def test_an_observable_that_was_not_recorded_has_no_estimate(observe, told):
    made = anneal(MODEL, **QUICK, observe=observe)
    with pytest.raises(ValueError, match=f"'overlap' was not recorded; recorded: {told}$"):
        made.estimate("overlap")


def test_provenance_tells_where_a_result_comes_from(run):
    told = run.provenance
    assert set(told) == {
        "version", "commit", "seed", "backend", "kernel", "layout", "rounds", "thresholds",
        "machine", "command",
    }  # fmt: skip
    assert set(told["machine"]) == {"processor", "system", "python", "numpy", "threads"}
    assert told["seed"] == 5
    assert told["backend"] == run.settings.backend
    assert told["layout"] == run.settings.layout
    assert told["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["machine"]["numpy"] == np.__version__
    assert len(told["thresholds"]) == 64  # a SHA-256


def test_thresholds_of_two_temperatures_differ():
    cold, hot = (sample(MODEL, b, **QUICK).provenance["thresholds"] for b in (0.5, 0.4))
    assert cold != hot
