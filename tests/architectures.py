"""Which codes the suite compiles for which GPUs: all for one of them, a code of every kernel for
all; the others are slow."""

from __future__ import annotations

import pytest

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
USUAL = "sm_90"


def compilations(variants, everywhere):
    """Parameters (variant, architecture). everywhere: variants that are compiled for all."""
    return [
        pytest.param(
            name, arch, marks=[] if arch == USUAL or name in everywhere else [pytest.mark.slow]
        )
        for name in variants
        for arch in ARCHITECTURES
    ]
