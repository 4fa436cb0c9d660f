"""The benchmark of one GPU, on the processor in its place: what is measured, and what is said
where nothing can be. The GPU's sensors are played."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as checkout
from benchmarks import ceilings, gpu, model, nvml
from benchmarks.gpu_cases import CASES, CPU_SWEEPS, TEXTS
from isingnpu import bench
from isingnpu.backend import find_backend
from isingnpu.backends.cuda import KERNELS, host
from isingnpu.backends.cuda.host import HostDevice
from isingnpu.bench.cases import Options
from isingnpu.bench.peer import WrongEnergy

needs_host = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")


class PlayedBoard:
    """pynvml of one board that draws 100 W by the clock of `now`."""

    NVML_CLOCK_SM = 1

    def __init__(self, now):
        self.now = now

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByPciBusId(self, bus):
        assert bus == b"0000:01:00.0"
        return "board"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return int(1e5 * self.now())

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1755

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):
        return 1980

    def nvmlDeviceGetPowerManagementLimit(self, handle):
        return 700_000

    def nvmlSystemGetDriverVersion(self):
        return "580.1"


class Ticks:
    """A clock on which every reading takes a second."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        self.at += 1.0
        return self.at


@pytest.fixture
def played(monkeypatch):
    """A board whose watch is played too."""
    ticks = Ticks()
    monkeypatch.setattr(nvml.time, "perf_counter", ticks)
    monkeypatch.setitem(sys.modules, "pynvml", PlayedBoard(lambda: ticks.at))
    return nvml.find_board(SimpleNamespace(bus="0000:01:00.0"))


@needs_host
def test_every_case_and_ceiling_gives_a_record_on_one_line(tmp_path, capsys):
    out = tmp_path / "gpu.jsonl"
    arguments = ["gpu", "--quick", "--backend", "cuda-host", "--out", str(out), "--commit", "c0"]
    assert checkout.main(arguments) == 0
    (session,) = bench.read_jsonl(out)
    cases = [case.name for case in (*CASES, *TEXTS)]
    assert [r.case for r in session.records] == [*ceilings.NAMES, *cases]
    beside_core = {*CPU_SWEEPS, *(case.name for case in TEXTS)}
    for record in session.records:
        assert record.measured
        assert record.quick
        assert 0 < record.low <= record.value <= record.high
        assert len(record.samples) == record.repeats >= 2
        assert np.isnan(record.joules)
        assert record.notes[-1] == "joules not measured: no GPU"
        assert (gpu.CORE in record.ratio_to) == (record.case in beside_core)
    assert session.machine["device"] == "host"
    assert session.commit == "c0"
    assert "gpu-square-4096-p10" in capsys.readouterr().out


@needs_host
def test_a_machine_that_reads_text_is_measured_in_spin_states():
    """Three states of each of 8 hidden spins and a draw for each eighth of their masks, two
    selectors and the output spin at each of 32 positions of a step."""
    [made], _ = gpu.measure_all(
        ["gpu-text-4096"], "cuda-host", seconds=60, quick=True, seed=1, progress=print
    )
    said = re.match(r"([\d,]+) positions/s, ([\d,]+) on one CPU core", made.notes[0])
    states = 3 * 8 + 1 + 2 + 1
    here, core = (float(number.replace(",", "")) for number in said.groups())
    assert here == pytest.approx(1e9 * made.value / states, abs=1)
    assert core == pytest.approx(here / made.ratio_to[gpu.CORE], rel=1 / here, abs=1)
    assert (made.n, made.replicas, made.kernel) == (8, 32, "text")
    (case,) = TEXTS
    assert case.spec.hidden >= 4096


@needs_host
def test_cases_reach_every_kernel_that_moves_spins():
    options = Options(True, "cuda-host", 1, 1, 1, None, lambda: 0.0)
    seen = set()
    for case in CASES:
        request = gpu.kernels.request_of(case, case.build(options), 3, options)
        seen.add(find_backend("cuda-host").plan(request).kernel)
    assert seen == set(KERNELS)


def test_without_a_gpu_or_a_compiler_both_reasons_are_printed(monkeypatch, capsys):
    def missing():
        raise ImportError("no compiler")

    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("isingnpu.backends.cuda.compiler.nvrtc", missing)  # may be loaded already
    assert checkout.main(["gpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("not measured, backend 'cuda': cupy not installed")
    assert "not modelled: NVRTC cannot be loaded" in said


def test_without_a_gpu_the_model_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(type(find_backend("cuda")), "unavailable", lambda self: "no CUDA device")
    monkeypatch.setattr(model, "table", lambda: "Modelled ...")
    assert checkout.main(["gpu"]) == 0
    assert capsys.readouterr().out == (
        "not measured, backend 'cuda': no CUDA device\n\nModelled ...\n"
    )


def test_an_unknown_case_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'speed'; there are ceiling-copy, .*gpu-square-4096"):
        gpu.main(["speed", "--backend", "cuda-host"])


@needs_host
def test_what_time_or_memory_forbid_is_a_record_that_says_so(monkeypatch):
    made, _ = gpu.measure_all(
        ["ceiling-logic"], "cuda-host", seconds=0, quick=False, seed=1, progress=lambda line: None
    )
    assert not made[0].measured
    assert made[0].notes == ("not measured: 0 s were over",)
    monkeypatch.setattr(HostDevice, "free", lambda self: 0)
    made, _ = gpu.measure_all(
        [CASES[0].name], "cuda-host", seconds=60, quick=True, seed=1, progress=lambda line: None
    )
    assert "needs" in made[0].notes[0]


@needs_host
def test_energies_that_are_not_those_of_the_spins_end_the_benchmark(monkeypatch):
    plan = type(find_backend("cuda-host").plan(_request(CASES[0])))
    right = plan.sweep

    def wrong(self, betas, **options):
        measured = right(self, betas, **options)
        return replace(measured, energy=measured.energy + 1)

    monkeypatch.setattr(plan, "sweep", wrong)
    with pytest.raises(WrongEnergy):
        gpu.main([CASES[0].name, "--quick", "--backend", "cuda-host"])


def _request(case):
    options = Options(True, "cuda-host", 1, 1, 1, None, lambda: 0.0)
    return gpu.kernels.request_of(case, case.build(options), 1, options)


# Sensors.


def test_a_window_holds_joules_for_its_work(played):
    window = nvml.watch(lambda: 5.0, 2.0, played)
    # the clock is read at 1, 2 and 3 s, the counter before, at 0, and after
    assert window.samples == (5e-9, 5e-9)
    assert (window.work, window.seconds) == (10.0, 2.0)
    assert window.joules == pytest.approx(300.0)
    assert window.describe(70.4) == (
        "30 J each, 150 W in 2 s by NVML, idle 70 W; 1755 MHz at the end"
    )
    assert ceilings.numbers(window)["joules"] == pytest.approx(30.0)
    assert "idle not measured" in window.describe(None)


def test_a_short_window_has_no_joules(played, monkeypatch):
    monkeypatch.setattr(nvml, "WINDOW", 3.0)
    window = nvml.watch(lambda: 5.0, 1.0, played)
    assert window.joules is None
    assert window.describe(70.0) == "joules not measured: a window of 2 s is shorter than 3 s"


def test_idle_power_is_that_of_a_sleep(played, monkeypatch):
    slept = []
    monkeypatch.setattr(nvml.time, "sleep", slept.append)
    assert nvml.idle_watts(played, 2.0) == pytest.approx(100.0)
    assert slept == [2.0]
    assert nvml.idle_watts("no GPU", 2.0) is None


@needs_host
def test_the_line_names_board_driver_clocks_and_idle_power(played, monkeypatch):
    monkeypatch.setattr(HostDevice, "bus", "0000:01:00.0", raising=False)
    monkeypatch.setattr(nvml.time, "sleep", lambda seconds: None)
    made, machine = gpu.measure_all(
        ["ceiling-copy"], "cuda-host", seconds=60, quick=True, seed=1, progress=lambda line: None
    )
    assert machine["driver"] == "580.1"
    assert machine["greatest MHz"] == 1980
    assert machine["power limit W"] == 700
    assert machine["idle W"] == pytest.approx(100.0)
    assert made[0].joules > 0


def test_a_gpu_says_where_it_is_plugged_in(monkeypatch):
    device = SimpleNamespace(pci_bus_id="0000:01:00.0")
    fake = SimpleNamespace(cuda=SimpleNamespace(Device=lambda index: device))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    assert find_backend("cuda").device.bus == "0000:01:00.0"


@pytest.mark.parametrize(
    ("pynvml", "reason"),
    [
        (None, "nvidia-ml-py not installed"),
        (SimpleNamespace(nvmlInit=lambda: 1 / 0), "NVML: division by zero"),
    ],
)
def test_a_board_without_sensors_says_why(monkeypatch, pynvml, reason):
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    assert nvml.find_board(SimpleNamespace(bus="0000:01:00.0")) == reason
    assert nvml.find_board(SimpleNamespace()) == "no GPU"


# Ceilings.


@needs_host
@pytest.mark.parametrize("name", ["logic", "multiply"])
def test_a_ceiling_does_the_operations_it_counts(name):
    device, rounds = HostDevice(), 3
    out = device.zeros((64,), np.uint32)
    constants = (0x9E3779B9, 0xBB67AE85)
    args = (out, *(np.uint32(x) for x in (rounds, *constants)))
    device.kernel(ceilings.code(), name)((2,), (32,), args)
    made = 0
    for at in (0, 63):
        x = [at, at ^ constants[0], at ^ constants[1], at ^ constants[0] ^ constants[1]]
        for step in range(rounds * 16):
            for j in range(4):
                constant = constants[0] if step & 1 else constants[1]
                if name == "logic":
                    x[j] = x[j] & constant ^ x[(j + 1) & 3]
                else:
                    product = x[j] * 0xD2511F53
                    x[j] = (product >> 32) ^ (product & 0xFFFFFFFF) ^ constant
                made += 1
        assert out[at] == x[0] ^ x[1] ^ x[2] ^ x[3]
    assert made == 2 * rounds * ceilings.STEPS


@needs_host
def test_the_copy_moves_all_that_it_counts(monkeypatch):
    device, kept = HostDevice(), []
    monkeypatch.setattr(device, "zeros", lambda *a: kept.append(np.ones(*a)) or kept[-1])
    launch = ceilings.launcher(device, "ceiling-copy", True)
    kept[1][:] = 0
    assert launch(3) == 3 * (kept[0].nbytes + kept[1].nbytes)
    assert np.all(kept[1] == 1)


def test_calls_are_doubled_until_they_last(monkeypatch):
    monkeypatch.setattr(nvml.time, "perf_counter", Ticks())
    called = []
    assert ceilings.calls_that_last(lambda times: called.append(times) or 1.0, 0.5) == 1
    assert called == [1, 1, 1]


# The model.


LISTING = """
	.section	.text.other,"ax",@progbits
        /*0000*/                   LOP3.LUT R1, R2 ;
	.section	.text.sweep,"ax",@progbits
.L_x_0:
        /*0000*/                   IMAD.MOV.U32 R1, RZ ;
.L_x_1:
        /*0010*/                   IMAD.WIDE.U32 R2, R2, -0x2daee0ad, RZ ;
        /*0020*/                   LOP3.LUT R1, R2, R3, R4, 0x96, !PT ;
.L_x_2:
        /*0030*/                   LDG.E R2, desc[UR4][R4.64] ;
        /*0040*/              @!P0 BRA `(.L_x_2) ;
        /*0050*/                   NOP;
        /*0060*/               @P1 BRA `(.L_x_1) ;
        /*0070*/                   BRA `(.L_x_0) ;
        /*0080*/                   EXIT ;
"""


def test_the_model_counts_the_loop_that_draws_and_what_lies_inside(monkeypatch):
    done = SimpleNamespace(stdout=LISTING)
    monkeypatch.setattr(model.subprocess, "run", lambda *a, **k: done)
    names, loops = model.instructions(b"", "sweep")
    assert [(loop.first, loop.last) for loop in loops] == [(0, 0x70), (0x10, 0x60), (0x30, 0x40)]
    once = {"logic": 1.0, "product": 1.0, "other": 1.0}
    assert model.iteration(names, loops, ()) == once
    assert model.iteration(names, loops, (2.5,)) == once | {"other": 1.0 + 2.5 * 2}


def test_loops_inside_that_draw_again_are_left_out(monkeypatch):
    monkeypatch.setattr(model, "CALL", 1)
    philox = "IMAD.WIDE.U32 R2, R2, 0xd2511f53, RZ"
    names = {0: philox, 1: philox, 2: "LOP3.LUT", 3: philox, 4: "LOP3.LUT", 5: "LOP3.LUT"}
    outer, site, again = model.Loop(0, 5), model.Loop(2, 4), model.Loop(3, 3)
    loops = [outer, site, again]
    # two products and the last operation, and as often as the sites one operation on either side
    assert model.iteration(names, loops, (4, 9))["logic"] == 1 + 4 * 2
    assert model.iteration(names, loops, (4,))["logic"] == 1


def test_the_model_of_this_version_is_labelled_and_has_its_bounds():
    if model.disassembler() is None:
        pytest.skip("nvdisasm not found")
    table = model.table().splitlines()
    assert table[0].startswith("Modelled from instruction counts, not measured")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table[4:]]
    assert len(rows) == sum(entry.kernel in KERNELS for entry in model.ENTRIES.values())
    for row in rows:
        per_update, logic, products, speed = (float(row[k]) for k in (2, 3, 4, 6))
        clock = model.MULTIPROCESSORS * model.GHZ
        bounds = {
            "issue": clock * 128 / per_update,
            "logic": clock * 64 / logic,
            "products": clock * 64 / products,
        }
        assert row[5] == min(bounds, key=bounds.get)
        assert speed == pytest.approx(min(bounds.values()), rel=0.02)  # of three digits


def test_without_a_disassembler_there_is_no_model(monkeypatch):
    monkeypatch.setattr(model.importlib.metadata, "files", lambda name: [])
    monkeypatch.setattr(model.shutil, "which", lambda name: None)
    model.disassembler.cache_clear()
    try:
        assert model.table().startswith("not modelled: nvdisasm not found")
    finally:
        model.disassembler.cache_clear()
