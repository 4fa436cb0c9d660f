"""Known answers, an independent generator, and the layouts bit by bit."""

import contract
import numpy as np
import pytest
import randomgen

from isingnpu import rng

# Random123 repository, tests/kat_vectors: counter, key, rounds -> output.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", 10,
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", 10,
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", 10,
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ("00000001 00000000 00000000 00000000", "00000001 00000000", 10,
     "ac08141b dfc5ccbe 79c07a47 a7f66093"),
    ("00000000 00000000 00000000 00000001", "00000000 00000001", 10,
     "96b27e8c 28826d0f 66d958ef 081509dc"),
    ("00000000 00000000 00000000 00000000", "00000000 00000000", 7,
     "5f6fb709 0d893f64 4f121f81 4f730a48"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", 7,
     "5207ddc2 45165e59 4d8ee751 8c52f662"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", 7,
     "4dfccaba 190a87f0 c47362ba b6b5242a"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(w, 16) for w in text.split()]


@pytest.mark.parametrize(("counter", "key", "rounds", "output"), KNOWN)
def test_random123_known_answers(counter, key, rounds, output):
    k0, k1 = words(key)
    got = rng.philox4x32(*words(counter), seed=k0 | k1 << 32, rounds=rounds)
    assert [int(x) for x in got] == words(output)


def independent_block(c0: int, c1: int, c2: int, c3: int, seed: int) -> list[int]:
    """One Philox4x32-10 block from randomgen, which increments its counter before use."""
    counter = (c0 | c1 << 32 | c2 << 64 | c3 << 96) - 1
    generator = randomgen.Philox(key=seed, counter=counter % 2**128, number=4, width=32)
    raw = generator.random_raw(4)
    return [int(x) for x in raw]


@pytest.mark.parametrize("seed", [0, 1, 0xFEEDBEEF12345678, 2**64 - 1])
def test_philox_equals_an_independent_implementation(seed):
    source = np.random.default_rng(seed % 1000)
    for counter in source.integers(0, 2**32, (40, 4)):
        c = [int(x) for x in counter]
        assert [int(x) for x in rng.philox4x32(*c, seed=seed)] == independent_block(*c, seed)


def test_lane_integer_is_one_byte_of_each_of_eight_calls():
    seed, sweep = 0x0123456789ABCDEF, 11
    got = rng.lane_integers(range(40), [3, 70_000], sweep, seed)
    for replica in (0, 5, 15, 16, 39):
        for column, site in enumerate((3, 70_000)):
            expected = 0
            for call in range(8):
                block = independent_block(replica // 16, site, sweep, call, seed)
                data = b"".join(w.to_bytes(4, "little") for w in block)
                expected = expected << 8 | data[replica % 16]
            assert int(got[replica, column]) == expected


def test_plane_integer_is_one_bit_of_each_of_64_planes():
    seed, sweep = 99, 4
    got = rng.plane_integers(range(130), [7], sweep, seed)
    for replica in (0, 31, 32, 63, 64, 129):
        expected = 0
        for call in range(32):
            x0, x1, x2, x3 = independent_block(replica // 64, 7, sweep, call, seed)
            for plane in (x0 | x1 << 32, x2 | x3 << 32):
                expected = expected << 1 | plane >> (replica % 64) & 1
        assert int(got[replica, 0]) == expected


def test_lattice_integer_reads_its_word_row_clock_and_replica():
    seed, words_per_row, clock, replica = 5, 3, 9, 6
    columns = np.array([0, 1, 2, 3, 190])
    got = rng.lattice_integers(replica, 17, columns, words_per_row, clock, seed, 10)
    for k, column in enumerate(columns.tolist()):
        expected = 0
        for call in range(32):
            c3 = call | replica << 11
            x0, x1, x2, x3 = independent_block(column % words_per_row, 17, clock, c3, seed)
            for plane in (x0 | x1 << 32, x2 | x3 << 32):
                expected = expected << 1 | plane >> (column // words_per_row) & 1
        assert int(got[k]) == expected


def test_initial_spins_do_not_depend_on_the_batch():
    whole = rng.initial_spins(range(200), 50, seed=3)
    assert np.array_equal(rng.initial_spins([137], 50, seed=3)[0], whole[137])
    assert set(np.unique(whole)) == {-1, 1}


def test_initial_spin_is_a_bit_of_the_init_stream():
    seed = 12
    spins = rng.initial_spins(range(70), 3, seed)
    x0, x1, _, _ = independent_block(1, 2, 0, int(rng.Stream.INIT) << 5, seed)
    assert spins[69, 2] == 2 * ((x0 | x1 << 32) >> 5 & 1) - 1


def test_streams_are_unique_and_fit_their_bits():
    values = [int(s) for s in rng.Stream]
    assert len(set(values)) == len(values)
    assert all(0 <= v < 64 for v in values)


def test_random_words_are_a_prefix_of_longer_requests():
    short = rng.random_words(1, rng.Stream.COUPLINGS, 7)
    assert np.array_equal(short, rng.random_words(1, rng.Stream.COUPLINGS, 1000)[:7])
    assert not np.array_equal(short, rng.random_words(1, rng.Stream.GRAPH, 7))
    x0, x1, x2, x3 = independent_block(1, 0, 0, int(rng.Stream.COUPLINGS) << 5, 1)
    assert [int(w) for w in short[2:4]] == [x0 | x1 << 32, x2 | x3 << 32]


def test_floats_stay_inside_the_open_interval():
    x = rng.random_floats(0, rng.Stream.COUPLINGS, 10_000)
    assert x.min() > 0
    assert x.max() < 1


def test_permutation_holds_every_index_once():
    order = rng.permutation(4, rng.Stream.GRAPH, 1000)
    assert np.array_equal(np.sort(order), np.arange(1000))


@pytest.mark.parametrize(
    ("seed", "error", "text"),
    [(-1, ValueError, "-1"), (2**64, ValueError, "18446744073709551616"),
     (1.5, TypeError, "float 1.5"), (True, TypeError, "bool True"), ("7", TypeError, "str '7'")],
)  # fmt: skip
def test_bad_seeds_are_refused(seed, error, text):
    with pytest.raises(error, match=text.replace("^", r"\^")):
        rng.as_seed(seed)


def test_seed_forms():
    assert rng.as_seed(7) == 7
    assert rng.as_seed(np.uint64(2**64 - 1)) == 2**64 - 1
    sequence = np.random.SeedSequence(3)
    assert rng.as_seed(sequence) == rng.as_seed(np.random.SeedSequence(3))
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    assert rng.as_seed(a) == rng.as_seed(b)
    assert rng.as_seed(a) != rng.as_seed(np.random.default_rng(1))
    assert 0 <= rng.as_seed(None) < 2**64


def test_bond_integer_is_one_bit_of_each_plane_of_its_owner():
    owners, slots, clock, seed = [3, 64, 200_000], [0, 5, 2], 9, 0xFEEDBEEF12345678
    got = rng.bond_integers([0, 2**21 - 1], owners, slots, clock, seed, 7)
    for row, replica in zip(got, (0, 2**21 - 1), strict=True):
        for r, owner, slot in zip(row, owners, slots, strict=True):
            counter = [owner // 64, slot, clock, 8 << 5 | replica << 11]
            assert int(r) == contract.planes(counter, seed, 7, owner % 64)
        one = rng.bond_integers(replica, owners, slots, clock, seed, 7)
        assert np.array_equal(one, row)


def test_coin_and_first_site_come_from_the_first_two_words():
    seed, replica, clock = 2**63 + 5, 77, 11
    for root in (0, 63, 64, 1_000_001):
        x = contract.philox([root // 64, 0, clock, 9 << 5 | replica << 11], seed, 10)
        bit = (x[0] | x[1] << 32) >> (root % 64) & 1
        assert rng.cluster_coins(replica, [root], clock, seed).tolist() == [bool(bit)]
    for n in (1, 7, 2**31 - 1):
        x = contract.philox([0, 0, clock, 10 << 5 | replica << 11], seed, 10)
        assert rng.seed_site(replica, n, clock, seed) == (x[0] | x[1] << 32) * n >> 64
