"""What a run did is counted; what it cost is measured, or said not to be."""

import json
import math
import sys
from types import SimpleNamespace

import pytest

from isingnpu import anneal, lattice, ledger, resume
from isingnpu.backend import Counts
from isingnpu.ledger import EnergyReading, Ledger, Meter, landauer_joules, modelled_joules

SPAN = 262_143_328_850  # max_energy_range_uj of a common processor


@pytest.fixture
def no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # `import pynvml` raises ImportError


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only by hand, of wall and processor alike."""
    clock = SimpleNamespace(now=100.0)
    fake = SimpleNamespace(perf_counter=lambda: clock.now, process_time=lambda: clock.now / 4)
    monkeypatch.setattr(ledger, "time", fake)
    return clock


@pytest.fixture
def zones(monkeypatch, tmp_path, no_nvml):
    """Writes the counter of a zone of a fake powercap folder."""
    monkeypatch.setattr(ledger, "_RAPL", tmp_path)

    def put(name, microjoules):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
        (tmp_path / name / "max_energy_range_uj").write_text(f"{SPAN}\n")

    return put


def reading(meter, name):
    [found] = [e for e in meter.energy if e.source == name]
    return found


@pytest.mark.parametrize("layout", ["lane", "plane", "lattice"])
def test_every_spin_of_every_replica_is_attempted_once_a_sweep(layout):
    model = lattice.square((4, 6))
    run = anneal(model, sweeps=25, replicas=5, seed=1, layout=layout)
    counts = run.ledger.counts
    assert counts.attempted == 25 * 5 * 24
    assert 0 < counts.flips <= counts.attempted
    assert counts.random_words > 0
    assert counts.couplings > 0
    assert counts.bytes > 0


def test_a_resumed_run_adds_to_its_ledger():
    begun = anneal(lattice.chain(7), sweeps=10, replicas=3, seed=1)
    longer = resume(begun, sweeps=5)
    assert longer.ledger.counts.attempted == 15 * 3 * 7
    assert longer.ledger.counts.flips >= begun.ledger.counts.flips
    assert longer.ledger.wall_s > begun.ledger.wall_s
    assert longer.ledger.energy[: len(begun.ledger.energy)] == begun.ledger.energy


def test_counts_add_name_by_name():
    added = Counts(1, 2, 3, 4, 5) + Counts(10, 20, 30, 40, 50)
    assert vars(added) == vars(Counts(11, 22, 33, 44, 55))


def test_without_a_sensor_energy_is_not_measured_and_the_reason_is_said(
    monkeypatch, tmp_path, no_nvml, clock
):
    monkeypatch.setattr(ledger, "_RAPL", tmp_path)
    with Meter() as meter:
        clock.now += 5
    assert [e.joules for e in meter.energy] == [None, None]
    assert reading(meter, "rapl").reason == f"no zone below {tmp_path}"
    assert reading(meter, "nvml").reason == "nvidia-ml-py not installed"
    assert [str(e) for e in meter.energy] == ["not measured"] * 2


def test_a_missing_powercap_folder_is_no_sensor(monkeypatch, tmp_path, no_nvml):
    monkeypatch.setattr(ledger, "_RAPL", tmp_path / "absent")
    assert ledger.sensors() == {
        "rapl": f"no zone below {tmp_path / 'absent'}",
        "nvml": "nvidia-ml-py not installed",
    }


def test_an_unreadable_counter_is_no_sensor_and_is_named(zones, tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    path = tmp_path / "intel-rapl:0" / "energy_uj"
    assert ledger.sensors()["rapl"] == f"{path}: No such file or directory"


def test_the_joules_of_a_window_are_those_of_the_packages(zones, clock):
    zones("intel-rapl:0", 5_000_000)
    zones("intel-rapl:1", 7_000_000)
    zones("intel-rapl:0:0", 1_000_000)  # cores of package 0, already in it
    with Meter() as meter:
        clock.now += 4
        zones("intel-rapl:0", 8_000_000)
        zones("intel-rapl:1", 7_500_000)
        zones("intel-rapl:0:0", 2_000_000)
    assert reading(meter, "rapl").joules == pytest.approx(3.5, rel=1e-15)
    assert reading(meter, "rapl").reason == ""
    assert str(reading(meter, "rapl")) == "3.5 J (rapl)"
    assert (meter.wall_s, meter.cpu_s) == (4, 1)


def test_a_counter_that_wraps_once_is_read_on(zones, clock):
    zones("intel-rapl:0", SPAN - 1_500_000)
    with Meter() as meter:
        clock.now += 4
        zones("intel-rapl:0", 2_000_000)
    assert reading(meter, "rapl").joules == pytest.approx(3.5, rel=1e-15)


@pytest.mark.parametrize(("seconds", "measured"), [(0.25, False), (0.999, False), (1.0, True)])
def test_a_window_shorter_than_a_second_is_refused(zones, clock, seconds, measured):
    clock.now = 0.0  # sums of these are exact
    zones("intel-rapl:0", 0)
    with Meter() as meter:
        clock.now += seconds
        zones("intel-rapl:0", 900_000)
    found = reading(meter, "rapl")
    assert (found.joules is not None) == measured
    assert found.window_s == seconds
    if not measured:
        assert found.reason == f"window {seconds:.2g} s shorter than 1 s"


def test_the_joules_of_all_graphics_devices_are_added(monkeypatch, tmp_path, clock):
    counters = {0: 1000, 1: 50}  # millijoules
    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda k: k,
        nvmlDeviceGetTotalEnergyConsumption=lambda k: counters[k],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(ledger, "_RAPL", tmp_path)
    with Meter() as meter:
        clock.now += 2
        counters.update({0: 3000, 1: 550})
    assert reading(meter, "nvml").joules == pytest.approx(2.5, rel=1e-15)


def test_a_driver_that_fails_is_no_sensor_and_its_error_is_the_reason(monkeypatch):
    def fail():
        raise RuntimeError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=fail))
    assert ledger.sensors()["nvml"] == "NVML Shared Library Not Found"


def test_measured_and_modelled_joules_never_share_a_key():
    counts = Counts(100, 40, 25, 200, 800)
    energy = EnergyReading(3.5, "rapl", 2.0), EnergyReading(None, "nvml", 2.0, "absent")
    told = Ledger(counts, 1.0, 2.0, energy).to_json()
    assert told["measured_joules"] == {"rapl": 3.5, "nvml": "not measured"}
    assert told["modelled_joules"]["value"] == modelled_joules(counts)
    assert told["modelled_joules"]["source"].startswith("Horowitz, ISSCC 2014")
    assert (told["attempted_updates"], told["flips"], told["random_words"]) == (100, 40, 25)
    assert (told["couplings_read"], told["bytes"]) == (200, 800)
    assert json.loads(json.dumps(told)) == told


def test_a_ledger_without_readings_says_not_measured():
    assert Ledger().to_json()["measured_joules"] == "not measured"


def test_modelled_joules_are_the_counts_times_the_published_constants():
    # 5 x 25 multiplies of 3.1 pJ, 300 adds of 0.1 pJ, 100 words of 20 pJ
    picojoules = 5 * 25 * 3.1 + 300 * 0.1 + 100 * 20
    joules = modelled_joules(Counts(100, 40, 25, 200, 800))
    assert joules == pytest.approx(picojoules * 1e-12, rel=1e-14)


def test_erasing_a_bit_at_300_kelvin_costs_the_published_2871e_24_joules():
    assert f"{landauer_joules(1, 300):.3e}" == "2.871e-21"
    assert landauer_joules(8, 77) == pytest.approx(8 * 1.380649e-23 * 77 * math.log(2), rel=1e-15)
