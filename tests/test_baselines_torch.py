"""The baselines need torch, an optional package: its absence is told, its import put off."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ("torch", "muon", "training", "transformer", "text", "images", "sequences", "rows")


@pytest.mark.parametrize("name", MODULES)
def test_without_torch_an_error_names_the_extra(name, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("isingnpu.npu.baseline_")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)  # `import torch` raises ImportError
    with pytest.raises(ImportError, match=r"pip install isingnpu\[torch\]"):
        __import__(f"isingnpu.npu.baseline_{name}")


def test_machines_of_spins_do_not_import_torch():
    code = """
import pkgutil, sys, isingnpu.npu, isingnpu.cli
for module in pkgutil.iter_modules(isingnpu.npu.__path__):
    if not module.name.startswith("baseline_"):
        __import__(f"isingnpu.npu.{module.name}")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
