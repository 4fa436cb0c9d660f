"""Random Ising models for the tests of model, conversions and files."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from isingnpu.model import IsingModel

law = settings(deadline=None, derandomize=True, max_examples=40)
whole = st.integers(-6, 6)
dyadic = st.integers(-80, 80).map(lambda k: k / 16)  # sums and quarters of these are exact
real = st.floats(-8, 8, allow_subnormal=False)


@st.composite
def models(
    draw: st.DrawFn, values: st.SearchStrategy[Any] = dyadic, least: int = 0, fields: bool = True
) -> IsingModel:
    """Random graphs of up to seven sites, with labels that are not the site numbers."""
    n = draw(st.integers(least, 7))
    pairs = list(combinations(range(n), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    edges = [(i, j, draw(values)) for i, j in chosen]
    h = [draw(values) if fields else 0 for _ in range(n)]
    labels = draw(st.permutations([*"abc", 7, 3, (0, 1), (2, ("x",))]))[:n]
    offset = draw(values) if fields else 0.0
    return IsingModel.from_edges(edges, n, fields=h, offset=offset, labels=labels)


def all_states(n: int) -> Any:
    """(2^n, n) every state."""
    return np.array(list(product((-1, 1), repeat=n)), np.int8).reshape(2**n, n)


def same(a: IsingModel, b: IsingModel) -> bool:
    """Equal couplings, fields, offset and labels, label by label."""
    if set(a.variables) != set(b.variables):
        return False
    order = [b.variables.index(name) for name in a.variables]
    return bool(
        np.array_equal(a.dense, b.dense[np.ix_(order, order)])
        and np.array_equal(a.fields, b.fields[order])
        and a.offset == b.offset
    )
