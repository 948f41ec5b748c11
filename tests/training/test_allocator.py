"""The allocator keeps freed memory where it is asked to."""

import subprocess
import sys

import pytest

from backstory.training.allocator import keep_memory

PROGRAM = """
import resource, sys
import torch
from backstory import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
torch.set_num_threads(1)
for _ in range(3):
    torch.zeros(2**23).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(2**23).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings exist on Linux alone")
def test_memory_that_is_kept_costs_no_page_faults():
    faults = {}
    for choice in ("keep", "return"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, choice], capture_output=True, text=True, check=True
        )
        faults[choice] = int(done.stdout)
    assert faults["keep"] < faults["return"] / 3


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_done(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert keep_memory() is False
