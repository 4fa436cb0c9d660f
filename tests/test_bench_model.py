"""The model that counts instructions: what it reads, how it weighs, and the counts it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from engine import Trial

from benchmarks import model, sass
from isingnpu import disorder, lattice
from isingnpu.backend import State
from isingnpu.backends.cuda import KERNELS, host
from isingnpu.backends.cuda.host import HostDevice
from isingnpu.backends.cuda.lattice import LatticePlan

SOURCE = """
__device__ __forceinline__ u32 rare(u32 x) {
    return x;
}
extern "C" __global__ void __launch_bounds__(THREADS, 1)
sweep(u32* x) {
    rare(1);
    loop;
}
"""
LISTING = """
	.section	.text.other,"ax",@progbits
        /*0000*/                   LOP3.LUT R1, R2 ;
	.section	.text.sweep,"ax",@progbits
.L_x_0:
	//## File "/here/x.cu", line 7
        /*0000*/                   IMAD.MOV.U32 R1, RZ ;
.L_x_1:
        /*0010*/                   IMAD.WIDE.U32 R2, R2, -0x2daee0ad, RZ ;
	//## File "/here/x.cu", line 3 inlined at "/here/x.cu", line 7
	//## File "/here/x.cu", line 7
        /*0020*/                   LOP3.LUT R1, R2, R3, R4, 0x96, !PT ;
	//## File "/here/x.cu", line 8
.L_x_2:
        /*0030*/                   LDG.E.128 R2, desc[UR4][R4.64] ;
        /*0040*/              @!P0 BRA `(.L_x_2) ;
        /*0050*/                   NOP;
        /*0060*/               @P1 BRA `(.L_x_1) ;
.L_x_3:
	//## File "/here/x.cu", line 3 inlined at "/here/x.cu", line 7
	//## File "/here/x.cu", line 7
        /*0070*/                   POPC R1, R1 ;
        /*0080*/               @P1 BRA `(.L_x_3) ;
        /*0090*/                   BRA `(.L_x_0) ;
        /*00a0*/                   EXIT ;
"""


def weighed(**options):
    code, loops = sass.parse(LISTING, "sweep", {"x.cu": SOURCE})
    entry = model.Entry("", None, 1, **options)
    return {i.address: weight for i, weight, _ in model.weigh(code, loops, entry)}


def test_instructions_know_their_functions_and_pipes():
    code, loops = sass.parse(LISTING, "sweep", {"x.cu": SOURCE})
    assert [(loop.first, loop.last) for loop in loops] == [
        (0, 0x90), (0x10, 0x60), (0x30, 0x40), (0x70, 0x80)
    ]  # fmt: skip
    assert code[2].functions == ("rare", "sweep")
    assert {i.functions for i in code[3:7]} == {("sweep",)}
    pipes = ["product", "wide", "logic", "memory", "other", "other", "other", "special"]
    assert [i.pipe for i in code[:8]] == pipes
    assert [i.words for i in code[2:5]] == [0, 4, 0]


def test_a_visit_is_the_loop_that_draws_and_loops_inside_count_by_their_trips():
    once = dict.fromkeys((0x10, 0x20, 0x50, 0x60), 1.0)
    around = dict.fromkeys((0x00, 0x70, 0x80, 0x90), 0.0)
    assert weighed() == once | around | {0x30: 0.0, 0x40: 0.0}
    assert weighed(trips={"sweep": 3}, parts={"rare": 0.5})[0x30] == 3
    assert weighed(parts={"rare": 0.25}) == weighed() | {0x20: 0.25}


def test_what_is_around_the_loop_is_shared_by_the_visits():
    found = weighed(visits=8, after={"rare": 3})
    assert (found[0x00], found[0x90]) == (1 / 8, 1 / 8)
    assert (found[0x70], found[0x80]) == (3 / 8, 3 / 8)


def test_the_fullest_pipe_binds_or_the_memory():
    code, loops = sass.parse(LISTING, "sweep", {"x.cu": SOURCE})
    entry = model.Entry("", None, 10)
    cycles = model.cycles_of(model.weigh(code, loops, entry), 32)
    assert cycles["issue"] == 4 / 128
    assert (cycles["logic"], cycles["products"], cycles["words"]) == (1 / 64, 1 / 32, 0)
    speed = model.MULTIPROCESSORS * model.GHZ * 10 * 32
    assert (
        model.bound(entry, cycles) == ("issue", pytest.approx(speed)) or cycles["issue"] < 1 / 32
    )
    assert model.bound(model.Entry("", None, 10, traffic=1e9), cycles)[0] == "memory"


@pytest.mark.skipif(host.compiler() is None, reason="g++ not found")
@pytest.mark.parametrize(
    ("name", "beta", "rule", "made"),
    [
        ("square, P10", np.log1p(np.sqrt(2)) / 2, "metropolis", lambda: lattice.square(256)),
        ("square, heat bath, P10", np.log1p(np.sqrt(2)) / 2, "heat-bath",
         lambda: lattice.square(256)),
        ("3D glass, P10", 0.9, "metropolis",
         lambda: disorder.edwards_anderson((32, 32, 128), seed=1)),
    ],
)  # fmt: skip
def test_calls_of_undecided_words_are_as_many_as_the_model_says(name, beta, rule, made):
    of = made()
    plan = LatticePlan(Trial(of, np.zeros(1), "lattice", rule, range(1)).request, HostDevice())
    up = np.ones((1, of.n), np.int8)
    plan.load(State(up, up.copy(), np.zeros(1, np.int64)))
    plan.sweep(np.full(100, beta), first=0)
    sweeps = 50
    counts = plan.sweep(np.full(sweeps, beta), first=100).counts
    words = sweeps * plan.program.colouring.colours * plan.items
    calls = (counts.random_words / 4 - 4 * words) / words
    # a word asks for none in four of five cases, else for 1.4: variance below 0.45; and the
    # entry has three digits
    assert calls == pytest.approx(
        model.ENTRIES[name].parts["drain"], abs=5 * np.sqrt(0.45 / words) + 5e-4
    )


def test_the_model_of_this_version_is_labelled_and_has_its_bounds():
    if model.disassembler() is None:
        pytest.skip("nvdisasm not found")
    table = model.table().splitlines()
    assert table[0].startswith("Modelled from instruction counts, not measured")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table[4:]]
    assert len(rows) == sum(entry.kernel in KERNELS for entry in model.ENTRIES.values())
    clock = model.MULTIPROCESSORS * model.GHZ
    for cells in rows:
        visit, rare, around, total, logic, products = (float(cell) for cell in cells[2:8])
        assert total == pytest.approx(visit + rare + around, rel=0.02)  # of three digits
        replicas = model.ENTRIES[cells[0]].replicas
        rate = replicas * model.GHZ / 128 if replicas else clock
        bounds = {
            "issue": rate * 128 / total,
            "logic": rate * 64 / logic,
            "products": rate * 64 / products,
        }
        if cells[8] != "memory":
            assert cells[8] == min(bounds, key=bounds.get)
        assert float(cells[9]) <= 1.02 * min(bounds.values())
        assert float(cells[10]) <= float(cells[9])


def test_without_a_disassembler_there_is_no_model(monkeypatch):
    monkeypatch.setattr(sass.importlib.metadata, "files", lambda name: [])
    monkeypatch.setattr(sass.shutil, "which", lambda name: None)
    sass.disassembler.cache_clear()
    try:
        assert model.table().startswith("not modelled: nvdisasm not found")
    finally:
        sass.disassembler.cache_clear()
