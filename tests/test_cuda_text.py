"""Machines that read text on the cuda device: its kernels on the processor in any schedule, and
with -m gpu on a GPU, against the cpu device in float64 or bit by bit, and whole machines."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from foreign import Foreign, ForeignDevice
from machine_devices import PLACES, There, device_at
from numba import njit
from test_language import FULL, QUICK, SPECS, Q, chain

from isingnpu.backends.cpu.machine_text import exp_below
from isingnpu.backends.cuda import host, machine
from isingnpu.backends.cuda.device import Code
from isingnpu.backends.cuda.host import FORWARD, HostDevice
from isingnpu.npu.budget import Budget
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, normals, uniforms
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.ngram_fields import EVIDENCE_CLASSES
from isingnpu.npu.second_block import SecondBlock
from isingnpu.npu.selectors import key_distances
from isingnpu.npu.text_net import Batch, TextNet, TextSpec
from isingnpu.rng import Stream

ROUNDING = 2.0**-24  # half a unit in the last place, relative
EXP = 1.2e-7  # relative error of exp_below
STARTS, LENGTH = np.array([70, 131, 200, 64]), 96  # more positions than threads of a block
SIZE = len(STARTS) * LENGTH
COLOURS = [2, 5, 65, 256]
cpu = find_device("cpu")
needs_host = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")


@pytest.fixture(params=PLACES)
def device(request, monkeypatch):
    return device_at(request.param, monkeypatch)


@pytest.fixture
def there(device):
    return There(device)


def tokens(q, n=300):
    """Tokens of very different frequency, a few of which do not occur."""
    return (uniforms((n,), Draw(5, Stream.DATA)) ** 3 * q).astype(np.uint8)


def numbers(*shape, block=0):
    return normals(shape, Draw(6, Stream.DATA, block=block))


def positions():
    return (STARTS[:, None] + np.arange(LENGTH)).reshape(-1)


def changed(call, *arrays):
    """What a call of a device makes of copies of these arrays."""
    copies = [array.copy() for array in arrays]
    call(*copies)
    return copies


def double(*arrays):
    return [array.astype(np.float64) for array in arrays]


# Rows added for tokens


@pytest.mark.parametrize("q", COLOURS)
@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 7), (4, 300)])
def test_rows_are_gathered_and_scattered_in_the_order_of_tokens_and_positions(there, q, n, width):
    x, table, values = tokens(q), numbers(n, q, width), numbers(SIZE, width, block=1)
    begin, before = numbers(SIZE, width, block=2), numbers(n, q, width, block=3)
    runs = x, STARTS, LENGTH
    mine = [changed(partial(at.scatter, *runs, values), before)[0] for at in (there, cpu)]
    assert np.array_equal(*mine)
    t, wanted = positions(), before.astype(float)
    for d in range(n):
        np.add.at(wanted, (d, x[t - 1 - d]), values)
    # sums of at most SIZE numbers below 5
    assert np.abs(mine[0] - wanted).max() <= SIZE**2 / 2 * 5 * ROUNDING
    [gathered] = changed(partial(there.gather, *runs, table), begin)
    wanted = begin.copy()
    for d in range(n):
        wanted += table[d, x[t - 1 - d]]
    assert np.array_equal(gathered, wanted)
    [of_cpu] = changed(partial(cpu.gather, *runs, table), begin)
    # n additions to numbers below 5 each, in any order
    assert np.abs(gathered - of_cpu).max() <= 2 * n * (n + 1) * 5 * ROUNDING


def test_sums_by_state_are_those_of_the_cpu(there):
    """Added in float64 in the order of the positions, and rounded once."""
    states, values = tokens(256).astype(np.int64), numbers(300)
    for bins in (256, 300):
        [mine] = changed(partial(there.tally, states, values), np.zeros(bins, np.float32))
        wanted = np.bincount(states, weights=values, minlength=bins).astype(np.float32)
        assert np.array_equal(mine, wanted)
        assert np.count_nonzero(mine) > 50


EXPONENTIALS = """
#include "softmax.cuh"
extern "C" __global__ void exponentials(const float* x, float* out, u32 n) {
    for (u32 k = threadIdx.x; k < n; k += blockDim.x) out[k] = exp_below(x[k]);
}
"""


@njit(fastmath=True, error_model="numpy")
def exponentials(x, out):
    for k in range(x.size):
        out[k] = exp_below(x[k])


@pytest.mark.parametrize("place", ["cpu", "cuda on the host"])
def test_exponential_is_within_its_error_everywhere(place):
    """Steps of 2^-16 near 0 and 2^-10 below: each coefficient counts. Numba may add the parts of
    k ln 2 in another order, which below e^-20 costs another 1.8e-7."""
    least = -20 if place == "cpu" else -87
    x = np.concatenate([np.arange(-4, 0, 2.0**-16), np.arange(least, -4, 2.0**-10), [0.0]])
    x, out = x.astype(np.float32), np.zeros(x.size, np.float32)
    if place == "cpu":
        exponentials(x, out)
    elif host.compiler() is None:
        pytest.skip("g++ not found")
    else:
        code = Code("exponentials.cu", headers=(("exponentials.cu", EXPONENTIALS),))
        HostDevice().kernel(code, "exponentials")((1,), (64,), [x, out, np.uint32(x.size)])
    wanted = np.exp(x.astype(float))
    assert np.abs(out / wanted - 1).max() <= EXP


@pytest.mark.parametrize("q", COLOURS)
def test_output_spin_is_a_softmax(there, q):
    """Fields are multiples of 1/64, their differences exact. exp is off by EXP; so is their sum,
    with an addition per colour of a lane and five between lanes; two roundings of the quotient."""
    x, fields = tokens(q), np.round(128 * numbers(SIZE, q)) / 64
    e, loss = changed(partial(there.output, x, STARTS, LENGTH), fields, np.zeros(SIZE, np.float32))
    g = fields.astype(float)
    log_p = g - g.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    y = np.eye(q)[x[positions()]]
    bound = 2 * EXP + (q / 32 + 8) * ROUNDING
    assert np.abs(e - (y - np.exp(log_p))).max() < bound
    assert np.abs(loss + (y * log_p).sum(1)).max() < bound + 3 * 20 * ROUNDING


# n-gram rows


def rows_of(q, orders=3, folds=4):
    """Rows that are visited often, parts of folds, tables and weights as learning leaves them."""
    choice = uniforms((SIZE, orders), Draw(7, Stream.DATA))
    rows = ((choice**2 * 9).astype(np.int32) + 9 * np.arange(orders)).astype(np.int32)
    rows[::17] = -1
    fold = np.arange(SIZE) * folds // SIZE
    parts = (rows * folds + fold[:, None]).astype(np.int32)
    parts[rows < 0] = -1
    part = numbers(9 * orders * folds, q)
    own = np.abs(numbers(9 * orders * folds, block=1)) * 3
    own[::5] = 0
    table, weights = part.reshape(-1, folds, q).sum(1), own.reshape(-1, folds).sum(1)
    return rows, parts, (table, part), (weights, own)


def gains_of(orders):
    shape = orders, EVIDENCE_CLASSES, EVIDENCE_CLASSES
    return uniforms(shape, Draw(8, Stream.DATA))


@pytest.mark.parametrize("q", [5, 65, 256])
@pytest.mark.parametrize("held_out", [True, False])
def test_fields_of_rows_are_those_of_the_cpu(there, q, held_out):
    """Evidence has the same class on both, and three products are added to a field below 8."""
    rows, parts, tables, weights = rows_of(q)
    if not held_out:
        parts = np.full_like(parts, -1)
    given = rows, parts, tables, weights, gains_of(3)
    states = np.zeros(rows.shape, np.int16)
    mine, which = changed(partial(there.ngram_fields, *given), numbers(SIZE, q, block=2), states)
    wanted, same = changed(partial(cpu.ngram_fields, *given), numbers(SIZE, q, block=2), states)
    assert np.array_equal(which, same)
    assert len(np.unique(which)) > 20
    assert np.abs(mine - wanted).max() <= 3 * 2 * np.abs(wanted).max() * ROUNDING


def test_classes_of_evidence_are_those_of_the_logarithm(there):
    """1 + floor(3/2 log2(1 + weight)); 1 + weight is rounded, so that those within a rounding of
    an edge may fall on either side of it."""
    edges = 2 ** (np.arange(1, 20) / 1.5)
    near = np.concatenate([edges * (1 + side) - 1 for side in (-1e-5, -1e-6, 0, 1e-6, 1e-5)])
    spread = np.geomspace(1e-9, 1e6, SIZE - 2 - near.size)
    weights = np.concatenate([[0.0, -1.0], near, spread]).astype(np.float32)
    rows = np.arange(SIZE, dtype=np.int32)[:, None]
    nothing = np.zeros((0, 1), np.float32), np.zeros(0, np.float32)
    [states] = changed(
        lambda states: there.ngram_fields(
            rows, np.full_like(rows, -1), (np.zeros((SIZE, 1), np.float32), nothing[0]),
            (weights, nothing[1]), gains_of(1), np.zeros((SIZE, 1), np.float32), states,
        ),
        np.zeros((SIZE, 1), np.int16),
    )  # fmt: skip
    exact = 1.5 * np.log2(1 + np.maximum(weights, 0).astype(float))
    wanted = 1 + np.minimum(EVIDENCE_CLASSES - 2, np.floor(exact).astype(int))
    wanted[weights <= 0] = 0
    clear = np.abs(exact - np.round(exact)) > 1.5 / np.log(2) * 2 * ROUNDING
    clear |= (weights <= 0) | (weights > 0) & (exact < 0.5)
    assert clear.sum() >= SIZE - 19 - 1
    assert np.array_equal(states[:, 0][clear] // EVIDENCE_CLASSES, wanted[clear])
    assert set(wanted) == set(range(EVIDENCE_CLASSES))


@pytest.mark.parametrize("q", [5, 65, 256])
def test_rows_learn_as_those_of_the_cpu_in_float64(there, q):
    """A row is visited V times: a step below 1 has the errors of its sum of squares, q / 32 + 5
    additions, a root and a quotient; each of three additions a visit rounds a number below the
    largest. Statistics add the overlaps of all visits, below `largest` q |e| each."""
    rows, parts, tables, weights = rows_of(q)
    gains, errors = gains_of(3), numbers(SIZE, q, block=4) / q
    states = np.zeros(rows.shape, np.int16)
    [_, states] = changed(
        partial(cpu.ngram_fields, rows, parts, tables, weights, gains),
        np.zeros((SIZE, q), np.float32), states,
    )  # fmt: skip

    def learn(at, *arrays):
        *tables, own, others, error, statistics = arrays
        at.ngram_learn(
            rows, parts, tuple(tables), (own, others), states, error, 0.3, 0.03, statistics
        )

    given = *tables, *weights, errors, np.zeros_like(gains)
    mine = changed(partial(learn, there), *given)
    wanted = changed(partial(learn, cpu), *double(*given))
    visits = np.bincount(rows[rows >= 0]).max()
    largest = max(np.abs(array).max() for array in wanted[:4])
    rounded = visits * (q / 32 + 5 + 6) * largest * ROUNDING
    for got, far, before in zip(mine[:4], wanted[:4], given, strict=False):
        assert np.abs(got - far).max() <= rounded
        assert np.abs(far - before).max() > 50 * rounded
    per_visit = largest * np.abs(errors).sum(1).max() * (q / 32 + 7) * ROUNDING
    per_visit += rounded * np.abs(errors).sum(1).max()
    assert np.abs(mine[5] - wanted[5]).max() <= SIZE * per_visit
    assert np.count_nonzero(mine[5]) > 20
    untouched = np.setdiff1d(np.arange(len(tables[1])), parts)
    assert np.array_equal(mine[1][untouched], tables[1][untouched])


# Selectors


def heads(q, window, reach):
    """Match couplings, biases and distances of a head; scores of a few units."""
    distances = key_distances(window).astype(np.float32)
    return 0.7 * numbers(reach, q, q), -0.3 * distances, distances


SELECTORS = [(2, 1, 1), (5, 9, 3), (65, 40, 4), (256, 50, 2)]


def selected(at, x, match, bias, real=np.float32):
    arrays = np.zeros((SIZE, match.shape[1]), real), np.zeros((SIZE, len(bias)), real)
    match, bias = match.astype(real), bias.astype(real)
    return changed(partial(at.select, x, STARTS, LENGTH, match, bias), *arrays)


def chance_error(match, bias):
    """Relative error of P(a): scores of reach + 1 numbers are rounded as often, and once more less
    the largest; exp is off by EXP; their sum as well, with additions and a quotient."""
    reach, window = len(match), len(bias)
    largest = reach * np.abs(match).max() + np.abs(bias).max()
    exponential = EXP + (reach + 3) * largest * ROUNDING
    return 2 * exponential + (window / 32 + 8) * ROUNDING


@pytest.mark.parametrize(("q", "window", "reach"), SELECTORS)
def test_selectors_are_those_of_the_cpu_in_float64(there, q, window, reach):
    x, (match, bias, _) = tokens(q), heads(q, window, reach)
    mass, prior = selected(there, x, match, bias)
    far_mass, far_prior = selected(cpu, x, match, bias, np.float64)
    relative = chance_error(match, bias) + EXP  # the fit of the cpu is no better
    assert np.all(np.abs(prior - far_prior) <= relative * far_prior)
    # a colour adds window / 32 chances in each of 32 columns
    added = relative + (window / 32 + 32) * ROUNDING
    assert np.all(np.abs(mass - far_mass) <= added * far_mass)
    np.testing.assert_allclose(mass.sum(1), 1, atol=2 * added)


@pytest.mark.parametrize(("q", "window", "reach"), SELECTORS)
def test_selectors_learn_as_those_of_the_cpu_in_float64(there, q, window, reach):
    """A coupling adds up D = P (credit - expected): three roundings of each, an addition for each
    of window / 32 in a column, 32 columns and SIZE positions; pull likewise."""
    x, (match, bias, distances) = tokens(q), heads(q, window, reach)
    _, prior = selected(cpu, x, match, bias)
    credit = numbers(SIZE, q, block=5)
    expected = (credit * numbers(SIZE, q, block=6)).mean(1)

    def learn(at, *arrays):
        *given, statistics, pull = arrays
        at.select_learn(x, STARTS, LENGTH, *given, statistics, pull)

    given = prior, credit, expected, distances, np.ones_like(match), np.zeros(1, np.float32)
    mine = changed(partial(learn, there), *given)
    wanted = changed(partial(learn, cpu), *double(*given))
    t, size = positions(), np.ones(match.shape)  # sums of |D|
    keys = t[:, None] + np.arange(-window, 0)
    share = np.abs(
        prior * (np.take_along_axis(credit, x[keys].astype(int), 1) - expected[:, None])
    )
    for lag in range(reach):
        np.add.at(size, (lag, x[t - 1 - lag][:, None], x[keys - 1 - lag]), share)
    roundings = (window / 32 + 32 + SIZE + 3) * ROUNDING
    assert np.all(np.abs(mine[4] - wanted[4]) <= size * roundings)
    assert np.any(np.abs(wanted[4] - 1) > 50 * size * roundings)
    assert np.abs(mine[5] - wanted[5])[0] <= (share @ distances).sum() * roundings
    assert abs(wanted[5][0]) > 10 * (share @ distances).sum() * roundings


def everything(at):
    """Results of all kernels on a device; those that a logarithm or sums of CuPy make are left."""
    q = 65
    x, (match, bias, distances) = tokens(q), heads(q, 40, 3)
    rows, parts, tables, weights = rows_of(q)
    runs, gains = (x, STARTS, LENGTH), gains_of(3)
    credit, table = numbers(SIZE, q, block=5), numbers(3, q, q, block=6)
    mass, prior = selected(at, x, match, bias)

    def select_learn(statistics):
        expected, pull = credit[:, 0].copy(), np.zeros(1, np.float32)
        at.select_learn(*runs, prior, credit, expected, distances, statistics, pull)

    def output(fields):
        at.output(*runs, fields, np.zeros(SIZE, np.float32))

    made = [mass, prior, *changed(select_learn, match), *changed(output, credit)]
    made += changed(partial(at.gather, *runs, table), credit)
    made += changed(partial(at.scatter, *runs, credit), table)
    made += changed(
        partial(at.ngram_fields, rows, parts, tables, weights, gains),
        credit, np.zeros(rows.shape, np.int16),
    )  # fmt: skip

    states = made[-1]

    def ngram_learn(table, part, weights, own, statistics):
        pairs = (table, part), (weights, own)
        at.ngram_learn(rows, parts, *pairs, states, credit, 0.3, 0.1, statistics)

    return made + changed(ngram_learn, *tables, *weights, gains)


@needs_host
def test_bits_are_the_same_on_every_device(there):
    """A GPU and the processor, in any schedule."""
    other = There(machine.CudaMachine(HostDevice(FORWARD)))
    for mine, its in zip(everything(there), everything(other), strict=True):
        assert np.array_equal(mine, its)


# Arguments


def test_nothing_is_no_launch(there):
    x, none, empty = tokens(5), np.zeros(0, np.int64), np.zeros((0, 5), np.float32)
    table = numbers(2, 5, 5)
    there.gather(x, none, 8, table, empty)
    [same] = changed(partial(there.scatter, x, none, 8, empty), table)
    assert np.array_equal(same, table)
    there.output(x, none, 8, empty, np.zeros(0, np.float32))
    there.select(x, none, 8, table, np.zeros(3, np.float32), empty, np.zeros((0, 3), np.float32))


def test_arrays_that_a_kernel_would_misread_are_refused(device):
    xp = device.xp
    x, starts, table = xp.zeros(300, np.uint8), xp.asarray(STARTS), xp.zeros((3, 5, 7), np.float32)
    out = xp.zeros((SIZE, 7), np.float32)
    with pytest.raises(TypeError, match="takes uint8 arrays, got int64"):
        device.gather(x.astype(np.int64), starts, LENGTH, table, out)
    with pytest.raises(TypeError, match="takes float32 arrays, got float64"):
        device.gather(x, starts, LENGTH, table.astype(np.float64), out)
    with pytest.raises(ValueError, match=r"shape \(384, 7\) is needed, got \(384, 6\)"):
        device.gather(x, starts, LENGTH, table, xp.zeros((SIZE, 6), np.float32))
    with pytest.raises(ValueError, match="written in place"):
        device.gather(x, starts, LENGTH, table, xp.zeros((7, SIZE), np.float32).T)
    with pytest.raises(ValueError, match="at most 256 colours are possible, got 257"):
        device.scatter(x, starts, LENGTH, out, xp.zeros((3, 257, 7), np.float32))
    with pytest.raises(ValueError, match=r"gather of 2147483648 elements, at most 2147483647"):
        device.gather(x, starts, 1 << 26, xp.zeros((1, 5, 8), np.float32), Huge())


class Huge:
    """Stands for 64 GiB."""

    dtype, shape, flags = np.dtype(np.float32), (1 << 28, 8), np.zeros(1).flags

    def __array__(self, dtype=None, copy=None):
        return np.zeros(1, np.float32)


# Machines


@pytest.fixture(scope="module")
def counts():
    corpus = chain()
    return KBodyField(2, low=1, folds=4).fit(corpus.tokens, Q, corpus.train)


def machine_of(name, found, counts):
    """A machine of test_language on a device, with a count field or without."""
    if name == "counted":
        spec = replace(FULL, count_states=counts.states)
        return PottsIsingLM(spec, QUICK, counts=counts, seed=4, device=found)
    spec = replace(FULL, second=SecondBlock(hidden=8, windows=(1, 4, 8)))
    spec = spec if name == "second block" else SPECS[name]
    return PottsIsingLM(spec, QUICK, seed=4, device=found)


def host_arrays(trained):
    """All that a step changes, as NumPy arrays."""
    net = trained.net
    there = net.couplings | {
        f"rows{i}": a for i, a in enumerate((*net.tables, *net.weights)) if a.size
    }
    get = np.asarray if trained._device is cpu else trained._device.device.get
    return {name: get(array).copy() for name, array in there.items()}


@pytest.mark.parametrize("name", [*SPECS, "counted", "second block"])
def test_learning_is_that_of_the_cpu_device(device, name, counts):
    """Three steps move the couplings alike; the bound is that of images (test_cuda_machine). Gains
    of evidence and n-gram rows see classes, which may differ for a weight at an edge."""
    moved = {}
    for found in (cpu, device):
        trained = machine_of(name, found, counts)
        before = host_arrays(trained)
        trained.fit(chain(), Budget(steps=3))
        after = host_arrays(trained)
        moved[found.name] = {k: w - before.get(k, 0 * w) for k, w in after.items()}
        moved[found.name]["answers"] = trained.log_probabilities(chain().tokens, 4100, 4200)
    for key, far in moved["cpu"].items():
        difference = np.linalg.norm(moved["cuda"][key] - far)
        assert difference <= 1e-3 * np.linalg.norm(far), key


@needs_host
@pytest.mark.parametrize("name", ["all", "counted", "second block"])
def test_arrays_of_a_machine_stay_on_its_device(name, counts, tmp_path):
    """With arrays that numpy refuses: learning, saving, loading, going on, judging and sampling,
    the same bits as in one piece with those of numpy."""
    corpus, budget = chain(), Budget(steps=6)
    whole = machine_of(name, machine.CudaMachine(HostDevice()), counts)
    whole.fit(corpus, budget)
    cut = machine_of(name, machine.CudaMachine(ForeignDevice()), counts)
    cut.fit(corpus, budget, until=2)
    cut.save(tmp_path / "machine.npz", training=True)
    again = PottsIsingLM.load(tmp_path / "machine.npz", device=cut._device)
    again.fit(corpus, budget)
    assert all(isinstance(w, Foreign) for w in again.net.couplings.values())
    for key, array in host_arrays(whole).items():
        assert np.array_equal(host_arrays(again)[key], array), key
    assert again.bpc(corpus) == whole.bpc(corpus)
    prompt = corpus.tokens[4000:4050]
    assert np.array_equal(again.sample(prompt, 2, seed=3), whole.sample(prompt, 2, seed=3))


@needs_host
def test_no_array_of_a_step_grows_with_positions_tokens_and_hidden_spins_together():
    """Memory of a step at its peak: five arrays of (positions, hidden spins), statistics, two of
    (positions, window), and not one of (positions, colours, hidden spins)."""
    positions_, hidden, q, window = 256, 256, 65, 32
    heads = replace(FULL.selectors, window=window)
    spec = TextSpec(q, context=4, hidden=hidden, selectors=heads)
    net = TextNet(spec, machine.CudaMachine(HostDevice()), seed=1)
    batch = Batch(tokens(q, 400), np.array([100]), positions_)
    sizes = 5 * positions_ * hidden + 2 * positions_ * (window + 6 * q)
    sizes += sum(a.size for a in net.couplings.values())
    tracemalloc.start()
    net.statistics(batch, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 4 * sizes / 2 < peak < 4 * 2 * sizes < 4 * positions_ * q * hidden / 3
