"""Networks trained by backprop: laws of their parts, counted products, learning, resumption."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch", reason="baselines need torch: pip install isingnpu[torch]")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from isingnpu.npu.baseline_images import (  # noqa: E402
    NETWORKS,
    Convolution,
    Dense,
    ImageBaseline,
    ImageNetwork,
    affine_maps,
    seen_through,
)
from isingnpu.npu.baseline_muon import ITERATIONS, QUINTIC, orthogonal, orthogonal_flops  # noqa: E402
from isingnpu.npu.baseline_rows import (  # noqa: E402
    TextCandidate,
    image_rows,
    masked_rows,
    rates,
    recall_rows,
    text_rows,
)
from isingnpu.npu.baseline_sequences import MaskedTransformer, RecallTransformer  # noqa: E402
from isingnpu.npu.baseline_text import TextBaseline, Window  # noqa: E402
from isingnpu.npu.baseline_training import Rule  # noqa: E402
from isingnpu.npu.baseline_transformer import Transformer, rotated, rotation  # noqa: E402
from isingnpu.npu.budget import Budget  # noqa: E402
from isingnpu.npu.corpus import Corpus  # noqa: E402
from isingnpu.npu.images import ImageSet, planted_images  # noqa: E402
from isingnpu.npu.planted_language import planted_language  # noqa: E402
from isingnpu.npu.tasks import PlantedTask, TextTask  # noqa: E402
from isingnpu.npu.text_study import field_table, judged_context  # noqa: E402

Q = 5
SMALL = Transformer(Q, Q, width=16, layers=2, heads=2, context=12)
MUON = Rule(rate=1e-2, muon=0.05, warm_up=5)
RNG = np.random.default_rng(7)


def chain(n: int = 3000, train: int = 2400) -> Corpus:
    """Every token is the one two before it plus one, in nine of ten cases: uniform at order 0."""
    noise = RNG.permuted(np.arange(n) % 10 == 0) * RNG.integers(1, Q, n)
    tokens = np.zeros(n, np.uint8)
    for t in range(2, n):
        tokens[t] = (tokens[t - 2] + 1 + noise[t]) % Q
    return Corpus("chain", tokens, tuple("abcde"), train, n)


CHAIN = chain()
IMAGES = planted_images(n_train=400, n_test=100)


def order_zero_bits(corpus: Corpus) -> float:
    share = np.bincount(corpus.tokens[corpus.train : corpus.end]) / (corpus.end - corpus.train)
    return float(-(share * np.log2(share)).sum())


def tokens(network: Transformer, n: int = 3) -> torch.Tensor:
    shape = (n, network.context)
    return torch.from_numpy(RNG.integers(0, network.colours, shape))


def started(network):
    return network.start(torch.Generator().manual_seed(3))


# Parts.


def test_rotary_scores_see_distances_only():
    sites, size = 40, 16
    q, k = (torch.randn(size, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    turn = rotation(sites, size, "cpu")
    scores = (rotated(q.expand(sites, -1), turn) @ rotated(k.expand(sites, -1), turn).T).numpy()
    # an angle of up to `sites` rad is off by half an ulp, a score by as much of its turns
    bound = 4 * sites * 2.0**-24 * float(q.norm() * k.norm())
    for distance in range(-sites + 1, sites):
        assert np.ptp(np.diagonal(scores, distance)) < bound
    assert np.ptp(scores[0]) > 100 * bound


@pytest.mark.parametrize("neighbours", [1, 4])
def test_what_comes_later_changes_no_earlier_output(neighbours):
    network = replace(SMALL, neighbours=neighbours)
    parameters, x = started(network), tokens(network)
    changed = x.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % Q
    before, after = (network.logits(parameters, one) for one in (x, changed))
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.isclose(before[:, 7:], after[:, 7:]).all(-1).any()


def test_an_input_sees_as_many_tokens_as_it_should():
    """Without layers an output is a function of its own input."""
    network = replace(SMALL, layers=0, neighbours=3)
    parameters, x = started(network), tokens(network)
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % Q
    before, after = (network.logits(parameters, one) for one in (x, changed))
    sites = (before != after).any(-1).all(0).nonzero().flatten().tolist()
    assert sites == [5, 6, 7]
    assert torch.equal(before[:, 8:], after[:, 8:])


def test_without_causality_the_first_output_sees_the_last_token():
    network = replace(SMALL, causal=False)
    parameters, x = started(network), tokens(network)
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % Q
    assert not torch.equal(network.logits(parameters, x)[:, 0],
                           network.logits(parameters, changed)[:, 0])  # fmt: skip


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (3, 16, 16)])
def test_muon_moves_singular_values_and_keeps_singular_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    a, b, c = QUINTIC
    wanted = s / s.norm(dim=-1, keepdim=True)
    for _ in range(ITERATIONS):
        wanted = a * wanted + b * wanted**3 + c * wanted**5
    assert wanted.min() > 0.6
    assert wanted.max() < 1.3
    np.testing.assert_allclose(orthogonal(matrix), (u * wanted[..., None, :]) @ vh, atol=1e-6)


# Counted products, against those that torch counts.


def counted(compute) -> int:
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_of_image_networks_are_those_torch_counts(name):
    """Forward and backward: images need no gradient, so the first layer has no product for it."""
    network = ImageNetwork((28, 28), 10, NETWORKS[name])
    parameters = {k: w.requires_grad_(True) for k, w in started(network).items()}
    cost = network.cost(2)

    def step() -> None:
        network.logits(parameters, torch.zeros(2, 1, 28, 28)).sum().backward()

    assert cost.flops == counted(step)
    assert cost.parameters == sum(w.numel() for w in parameters.values())


@pytest.mark.parametrize(
    "network",
    [SMALL, replace(SMALL, neighbours=3, learned=True), replace(SMALL, tied=True)],
    ids=["plain", "neighbours", "tied"],
)
def test_bytes_of_the_transformer_are_of_all_its_parameters(network):
    """32 bytes of every parameter, 8 of 14 numbers of a layer's width at every site."""
    cost, parameters = network.cost(3), sum(w.numel() for w in started(network).values())
    assert cost.parameters == parameters
    assert cost.bytes == 32 * parameters + 8 * 14 * 2 * 16 * 3 * 12


def test_multiply_adds_of_the_transformer_are_those_torch_counts():
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        flops = counted(lambda: SMALL.logits(started(SMALL), tokens(SMALL, 3)))
    assert SMALL.cost(3).flops == 3 * flops


def test_multiply_adds_of_the_window_and_of_muon_are_those_torch_counts():
    window = Window(Q, context=6, hidden=32)
    x = torch.zeros(4, 6, dtype=torch.int64)
    assert window.cost(4).flops == 3 * counted(lambda: window.logits(started(window), x))
    assert window.cost(4).parameters == sum(w.numel() for w in started(window).values())
    for shape in ((12, 30), (3, 30, 12)):
        assert orthogonal_flops(shape) == counted(lambda s=shape: orthogonal(torch.ones(s)))


# Text.


@pytest.mark.parametrize(
    ("network", "rule", "batch"),
    [
        (SMALL, MUON, 8),
        (replace(SMALL, neighbours=2, tied=True, dropout=0.1), replace(MUON, muon=None), 8),
        (Window(Q, context=4, hidden=32), Rule(rate=2e-2, warm_up=5), 64),
    ],
    ids=["muon", "adamw", "window"],
)
def test_text_is_learned_below_its_order_zero_entropy(network, rule, batch):
    machine = TextBaseline(network, rule, batch=batch, seed=1)
    progress = machine.fit(CHAIN, Budget(steps=60), held_out=CHAIN.positions(12)[::7], marks=4)
    assert machine.bpc(CHAIN) < 0.8 * order_zero_bits(CHAIN)
    assert [point.steps for point in progress.curve] == [15, 30, 45, 60]
    assert progress.curve[-1].score < progress.curve[0].score
    predicted = network.context if isinstance(network, Transformer) else 1
    assert progress.events.samples == 60 * batch * predicted


def test_bits_are_those_of_the_tokens_before_a_position():
    machine, at = TextBaseline(SMALL, seed=1), np.array([2500, 2700])
    machine.fit(CHAIN, Budget(steps=3))
    parameters = {k: w.detach() for k, w in machine.training.parameters.items()}
    bits = []
    for t in at:
        window = torch.from_numpy(CHAIN.tokens[t - 12 : t].astype(np.int64))[None]
        p = SMALL.logits(parameters, window)[0, -1].softmax(-1)
        bits.append(-float(p[CHAIN.tokens[t]].log2()))
    assert machine.bpc(CHAIN, at) == pytest.approx(np.mean(bits), rel=1e-6)
    with pytest.raises(ValueError, match="positions must lie in 12"):
        machine.bpc(CHAIN, np.array([11]))


def test_a_silent_network_beside_a_field_scores_the_field():
    """Read-out zero, gain one: logits are the field's log-probabilities."""
    field = np.log(RNG.dirichlet(np.ones(Q), len(CHAIN.tokens)))
    at = CHAIN.positions(12)[:50]
    own = -np.log2(np.exp(field)[at, CHAIN.tokens[at]]).mean()
    for given in (field, lambda positions: field[positions]):
        machine = TextBaseline(SMALL, seed=1, field=given)
        with torch.no_grad():
            machine.training.parameters["read-out"].zero_()
        assert machine.bpc(CHAIN, at) == pytest.approx(own, rel=1e-6)
        machine.fit(CHAIN, Budget(steps=2))
        assert float(machine.training.parameters["gain"].detach()) != 1


def test_a_field_that_knows_the_tokens_is_learned_at_their_positions():
    """A field shifted by one position would know nothing: tokens are uniform given the next."""
    field = 2.0 * np.eye(Q)[CHAIN.tokens]
    machine = TextBaseline(SMALL, Rule(rate=3e-2, warm_up=5), seed=1, field=field)
    machine.fit(CHAIN, Budget(steps=40))
    assert machine.bpc(CHAIN) < 0.3
    assert float(machine.training.parameters["gain"].detach()) > 1.2


# A stop, a file, the same seed.


def test_a_training_that_was_stopped_and_loaded_has_the_bits_of_one_that_was_not(tmp_path):
    whole, parts = (TextBaseline(SMALL, MUON, seed=4) for _ in range(2))
    other = TextBaseline(SMALL, MUON, seed=5)
    straight = whole.fit(CHAIN, Budget(steps=9), marks=3)
    parts.fit(CHAIN, Budget(steps=9), marks=3, stop_after=4)
    parts.save(tmp_path / "text.npz")
    loaded = TextBaseline.load(tmp_path / "text.npz")
    resumed = loaded.fit(CHAIN, Budget(steps=9), marks=3)
    other.fit(CHAIN, Budget(steps=9))
    assert resumed.steps == 9
    assert resumed.events == straight.events
    assert [(p.steps, p.loss) for p in resumed.curve] == [
        (p.steps, p.loss) for p in straight.curve
    ]
    for name, w in whole.training.parameters.items():
        assert torch.equal(w, loaded.training.parameters[name]), name
    assert not torch.equal(other.training.parameters["out"], whole.training.parameters["out"])
    with pytest.raises(ValueError, match="has no field"):
        TextBaseline.load(tmp_path / "text.npz", field=np.zeros((3000, Q)))


def test_samples_are_not_chosen_by_the_words_that_made_the_parameters():
    network = ImageNetwork((8, 8), 10)
    machine, same = ImageBaseline(network, seed=6), torch.Generator().manual_seed(6)
    start = network.start(torch.Generator().manual_seed(6))
    assert torch.equal(machine.training.parameters["weight 0"], start["weight 0"])
    chosen, shared = (
        torch.randint(2**24, (32,), generator=one) for one in (machine.training.generator, same)
    )
    assert not torch.equal(chosen, shared)


def test_a_stopped_image_network_goes_on_with_the_same_bits(tmp_path):
    network = ImageNetwork(IMAGES.shape, 10, (Convolution(5, 4, 2), Dense(16)))
    whole, parts = (ImageBaseline(network, batch=16, seed=4) for _ in range(2))
    whole.fit(IMAGES, Budget(steps=6))
    parts.fit(IMAGES, Budget(steps=6), stop_after=2)
    parts.save(tmp_path / "images.npz")
    loaded = ImageBaseline.load(tmp_path / "images.npz")
    assert np.array_equal(loaded.predict(IMAGES.test[0]), parts.predict(IMAGES.test[0]))
    loaded.fit(IMAGES, Budget(steps=6))
    for name, w in whole.training.parameters.items():
        assert torch.equal(w, loaded.training.parameters[name]), name


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"muon": -1.0}, {"warm_up": 0}, {"floor": 2.0}])
def test_rules_without_a_schedule_are_refused(wrong):
    with pytest.raises(ValueError, match="got Rule"):
        Rule(**wrong)


def test_a_budget_of_flips_alone_is_refused():
    with pytest.raises(ValueError, match="backprop flips no spins"):
        TextBaseline(SMALL, seed=1).fit(CHAIN, Budget(flips=100))


# Images.


def test_augmentation_is_the_affine_map_that_scipy_makes():
    """Images with a dark edge: what happens there is a convention. float32 coordinates of up to
    27 pixels are off by a few 2^-20, values by as much times the slope, at most 1 per pixel."""
    images = np.zeros((20, 28, 22), np.float32)
    images[:, 5:-5, 5:-5] = RNG.random((20, 18, 12))
    linear, shift = affine_maps(20, torch.Generator().manual_seed(1))
    made = seen_through(torch.from_numpy(images)[:, None], linear, shift)[:, 0].numpy()
    centre = (np.array(images.shape[1:]) - 1) / 2
    for image, a, t, one in zip(images, linear.numpy(), shift.numpy(), made, strict=True):
        wanted = ndimage.affine_transform(image, a, centre + t - a @ centre, order=1)
        np.testing.assert_allclose(one, wanted, atol=1e-4)


def test_augmentation_draws_from_the_stated_law():
    linear, shift = affine_maps(20_000, torch.Generator().manual_seed(2))
    a = linear.numpy().astype(np.float64)
    rows = np.hypot(a[:, 0, 0], a[:, 0, 1])  # scale of the row axis, free of shear
    angle = np.arctan2(-a[:, 0, 1], a[:, 0, 0])
    columns = a[:, 1, 1] / np.cos(angle)
    shear = a[:, 1, 0] - columns * np.sin(angle)
    drawn_bounds = [(np.log(rows), 0.12), (np.log(columns), 0.12), (angle, 0.2), (shear, 0.15)]
    drawn_bounds += [(shift.numpy()[:, axis], 1.5) for axis in (0, 1)]
    for drawn, bound in drawn_bounds:
        assert 0.999 * bound < np.abs(drawn).max() < bound * (1 + 1e-5)
        assert drawn.min() < -0.99 * bound


@pytest.mark.parametrize("name", NETWORKS)
def test_image_networks_learn(name):
    network = ImageNetwork(IMAGES.shape, IMAGES.labels, NETWORKS[name])
    machine = ImageBaseline(network, Rule(rate=3e-3, warm_up=10), batch=32, seed=1, augment=False)
    machine.fit(IMAGES, Budget(steps=60), held_out=IMAGES.test)
    assert machine.score(IMAGES) > 0.3  # one in ten by chance


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"Convolution\(size=9.*does not fit"):
        ImageNetwork((8, 8), 10, (Convolution(9, 4),))
    with pytest.raises(ValueError, match="dense layer stands before it"):
        ImageNetwork((8, 8), 10, (Dense(4), Convolution(2, 4)))
    with pytest.raises(ValueError, match="the network takes images"):
        ImageBaseline(ImageNetwork((8, 8), 10), seed=1).fit(IMAGES, Budget(steps=1))


# Short sequences.


def staircases(n: int) -> np.ndarray:
    """x_i = x_0 + i mod Q: one token tells all others."""
    return (RNG.integers(0, Q, n)[:, None] + np.arange(6)) % Q


def test_a_masked_site_is_predicted_from_the_others_alone():
    machine = MaskedTransformer(Q, 6, MUON, width=16, layers=1, batch=32, seed=1)
    x = staircases(300)
    progress = machine.fit(x, Budget(steps=80), held_out=x[:20], marks=2)
    assert progress.curve[-1].score == machine.cross_entropy(x[:20]) < 0.5 * np.log(Q)
    other = x[:20].copy()
    other[:, 2] = (other[:, 2] + 1) % Q
    assert np.array_equal(machine.logits(x[:20], 2), machine.logits(other, 2))
    z = machine.logits(x[:20], 2).astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert p[np.arange(20), x[:20, 2]].mean() > 1 / Q
    with pytest.raises(ValueError, match="tokens must lie in 0"):
        machine.fit(x + 1, Budget(steps=1))


def test_an_even_guess_costs_the_logarithm_of_the_colours():
    machine = MaskedTransformer(Q, 6, width=16, layers=1, seed=1)
    with torch.no_grad():
        machine.training.parameters["read-out"].zero_()
    assert machine.cross_entropy(staircases(9)) == pytest.approx(np.log(Q), rel=1e-12)


def pairs(n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Two of three keys with values 0..2, then one of the keys: colours 0..2 and 3..5."""
    keys = rng.random((n, 3)).argsort(1)[:, :2]
    values, asked = rng.integers(0, 3, (n, 2)), rng.integers(0, 2, n)
    x = np.empty((n, 5), np.int64)
    x[:, 0:4:2], x[:, 1:4:2], x[:, 4] = keys, values + 3, keys[np.arange(n), asked]
    return x, values[np.arange(n), asked]


def test_recall_is_learned_from_arrays_and_from_a_source():
    held_out = pairs(300, np.random.default_rng(1))
    for examples in (pairs(3000, np.random.default_rng(2)),
                     lambda step: pairs(32, np.random.default_rng((3, step)))):  # fmt: skip
        machine = RecallTransformer(
            6, 3, 5, MUON, width=16, layers=1, neighbours=2, batch=32, seed=1
        )
        machine.fit(examples, Budget(steps=150), held_out=held_out)
        assert machine.score(*held_out) > 0.8  # a third by chance, two thirds without the key


# Rows.


def test_no_sweep_looks_at_the_judged_part_of_a_text():
    candidates = {"small": TextCandidate(SMALL, rates(MUON, 1e-3, 1e-2), 4)}
    poisoned = replace(CHAIN, tokens=CHAIN.tokens.copy())
    poisoned.tokens[CHAIN.train :] = 0
    clean, spoilt = (
        text_rows(corpus, Budget(steps=8), [1, 2], candidates=candidates)[0]
        for corpus in (CHAIN, poisoned)
    )
    assert clean["settings"] == spoilt["settings"]
    assert clean["scores"] != spoilt["scores"]
    slow, fast = clean["settings"]["sweep"]
    assert fast["score"] < slow["score"]
    assert clean["settings"]["rule"] == fast["rule"]
    assert len(json.loads(json.dumps(clean))["scores"]) == 2


def test_no_sweep_looks_at_the_test_part_of_images():
    wrong = (IMAGES.test[0], (IMAGES.test[1] + 1) % 10)
    poisoned = ImageSet("poisoned", IMAGES.train, wrong)
    clean, spoilt = (
        image_rows(
            images, Budget(steps=30), [1], networks={"perceptron": (Dense(32),)},
            rules=rates(MUON, 1e-4, 1e-2), batch=16, augment=False,
        )[0]
        for images in (IMAGES, poisoned)
    )  # fmt: skip
    assert clean["settings"] == spoilt["settings"]
    assert clean["scores"] != spoilt["scores"]
    slow, fast = clean["settings"]["sweep"]
    assert fast["score"] > slow["score"]
    assert clean["settings"]["rule"] == fast["rule"]
    json.dumps(clean)


def test_no_sweep_looks_at_the_judged_sequences():
    x = staircases(60)
    rules = rates(MUON, 1e-4, 1e-2)
    masked = [
        masked_rows(x, judged, Q, Budget(steps=3), [1], layers=(1,), rules=rules)[0]
        for judged in (x, 4 - x)
    ]
    right = pairs(50, np.random.default_rng(1))
    recalled = [
        recall_rows(
            lambda step: pairs(8, np.random.default_rng(step)), judged, 6, 3, Budget(steps=3),
            [1], neighbours=(1,), rules=rules,
        )[0]
        for judged in (right, (right[0], (right[1] + 1) % 3))
    ]  # fmt: skip
    for clean, spoilt in (masked, recalled):
        assert clean["settings"] == spoilt["settings"]
        assert clean["scores"] != spoilt["scores"]


def test_rows_of_small_tasks_count_parameters_samples_and_the_goal():
    x = staircases(200)
    masked = masked_rows(
        x[:150], x[150:], Q, Budget(steps=4), [1], layers=(1,), rules=[MUON], marks=2
    )[0]
    machine = MaskedTransformer(Q, 6, layers=1)
    assert masked["params"] == machine.n_parameters
    assert masked["samples"] == masked["events"]["samples"] == 4 * machine.batch
    assert masked["events"]["writes"] == 4 * machine.n_parameters
    assert [point["steps"] for point in masked["curves"][0]] == [2, 4]
    held_out = pairs(100, np.random.default_rng(1))
    always, never = (
        recall_rows(
            held_out, held_out, 6, 3, Budget(steps=6), [1, 2], rules=[MUON], batch=8, goal=goal,
            marks=3,
        )
        for goal in (0.0, 1.1)
    )  # fmt: skip
    for row in always:
        assert row["goal_cpu_s"] == [curve[0]["cpu_s"] for curve in row["curves"]]
    assert [row["goal_cpu_s"] for row in never] == [[None, None]] * 2
    assert always[0]["name"] != always[1]["name"]
    json.dumps([masked, *always])


def test_a_curve_of_planted_sequences_is_above_the_loss_of_the_truth_on_the_same(
    monkeypatch,
) -> None:
    """An even guess costs ln 6 on any sequences; what the truth costs differs between them."""
    monkeypatch.setattr(MaskedTransformer, "logits", lambda self, x, site: np.zeros((len(x), 6)))
    [row, _] = PlantedTask().backprop_rows(1e-3, [3], "cpu", lambda text: None)
    language = planted_language(seed=3)
    new = language.sequences(10_000, 1_000_006).astype(np.int64)
    true = -np.take_along_axis(language.log_law(new), new[..., None], -1).mean((1, 2))
    assert row.scores[0] == pytest.approx(np.log(6) - true.mean(), rel=1e-9)
    assert row.curve[0][-1].score == pytest.approx(np.log(6) - true[:500].mean(), rel=1e-9)
    assert abs(true.mean() - true[:500].mean()) > 1e-4


def test_a_comparison_judges_networks_where_machines_are_judged(monkeypatch) -> None:
    """Rows with and without the count field, all at positions with the longest machine's reach of
    the judged part before them."""
    seen = []

    def scored(self, corpus, positions):
        seen.append(positions)
        return 1.0 if self.field is None else 0.5

    def counted(corpus):
        table, cpu_s = field_table(corpus)
        assert cpu_s > 0
        return table, 1000.0

    monkeypatch.setattr(TextBaseline, "bpc", scored)
    monkeypatch.setattr("isingnpu.npu.text_study.field_table", counted)
    corpus = chain(12_000, 9_000)
    rows = TextTask(corpus).backprop_rows(1e-3, [0], "cpu", lambda text: None)
    assert all(row.curve[0][-1].score == row.scores[0] for row in rows)
    assert {row.name: row.scores for row in rows} == {
        "transformer": (1.0,),
        "transformer, 4-token inputs": (1.0,),
        "wide transformer, 4-token inputs": (1.0,),
        "window perceptron": (1.0,),
        "transformer, 4-token inputs + field": (0.5,),
    }
    wanted = corpus.positions(judged_context())
    assert all(np.array_equal(at, wanted) for at in seen)
    *alone, beside = rows
    assert max(row.cpu_s for row in alone) < 1000 < beside.cpu_s  # the field's are told with it
