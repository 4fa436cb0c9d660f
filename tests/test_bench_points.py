"""Benchmark of beta_c: the rate, what is counted of many calls, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted_point import BETA_C, planted_point
from test_bench_critical import options

from isingnpu import bench, lattice
from isingnpu.bench import points
from isingnpu.bench.points import COVERAGE, POINTS, PointCase, measure_point
from isingnpu.criticality import NoCrossing, quotient
from isingnpu.model import Reference
from isingnpu.statistics import Estimate

CASE = PointCase("planted", lattice.square, (4, 6, 8), seconds=3.0, calls=12)


@pytest.fixture
def calls(monkeypatch):
    """find_beta_c gives points 0.4, 0.8, 1.2 and 0 sigma off in turn; the arguments of calls."""
    seen = []

    def find(family, sizes, *, seed, **more):
        seen.append((family, sizes, seed, more))
        if seed in (4, 9):
            raise NoCrossing((4, 6), 0.3, 0.5)
        k = len(seen)
        exact = Reference(BETA_C - 1e-3 * 0.4 * (k % 4) * (-1) ** k)
        return replace(planted_point(exact=exact), seconds=2.0 + k)

    monkeypatch.setattr(points, "find_beta_c", find)
    monkeypatch.setattr(points, "_exponents", lambda point: "")
    return seen


def test_many_calls_count_what_they_cover_and_what_was_refused(calls):
    record = measure_point(CASE, options(quick=False, repeats=1))
    assert [seed for *_, seed, _ in calls] == list(range(1, 13))
    assert calls[0][1] == (4, 6, 8)
    assert calls[0][3]["budget_s"] == 3.0
    assert record.repeats == len(record.samples) == 10
    assert record.samples[0] == pytest.approx(1 / (1e-6 * 3.0))
    assert record.low == min(record.samples) <= record.value <= record.high
    counted, *refused = record.notes
    # 0.4 (k % 4) exceeds 1 for k % 4 = 3
    assert counted.startswith("7 of 10 intervals of one sigma cover")
    assert len(refused) == 2
    assert refused[0].startswith("refused: the ratios of sizes 4 and 6 do not cross")


def test_a_case_that_is_never_answered_raises_the_refusal(calls):
    with pytest.raises(NoCrossing):
        measure_point(replace(CASE, calls=1), options(quick=False, repeats=1, seed=4))


def test_few_calls_are_described_one_by_one(calls):
    record = measure_point(replace(CASE, calls=2), options(quick=False, repeats=1))
    assert len(record.notes) == 2
    assert "sigma / beta_c = 0.002" in record.notes[0]
    assert (record.n, record.edges) == (1024, 2048)  # of the last size that was found, 32


def test_graphs_are_built_by_size_and_instance(calls):
    (case,) = (case for case in POINTS if case.name == "beta-c-regular3")
    record = measure_point(case, options(repeats=1))
    assert (record.n, record.replicas) == (32, 16)  # the planted point says size 32
    assert calls[0][1] == case.sizes
    assert calls[0][3]["instances"] == 16


def test_exponents_of_a_point_are_told_or_why_not(monkeypatch):
    class Box:
        k = 0.5

    class Samples:
        box = Box

    point = replace(planted_point(), histograms=(Samples,))
    found = quotient.Exponents(Estimate(1.004, 0.005), Estimate(0.249, 0.002), 1.0, 2, 0.6)
    monkeypatch.setattr(quotient, "exponents", lambda point: found)
    assert points._exponents(point) == "; nu = 1.004(5), eta = 0.249(2) (p = 0.6)"

    def refuse(point):
        raise NoCrossing((8, 16), 0.4, 0.5)

    monkeypatch.setattr(quotient, "exponents", refuse)
    assert points._exponents(point).startswith("; no exponents: the ratios of sizes 8 and 16")
    Box.k = float("nan")
    assert points._exponents(point) == ""


def test_quick_points_run():
    (record,) = bench.run_suite(["beta-c-square-ising"], quick=True, repeats=1)
    assert record.quick
    assert record.unit == "sigma^-2 per s of wall time"
    assert {case.name for case in COVERAGE} == {"coverage-square"}
