"""What a process does with memory that networks have freed."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from reference_model.freed_memory import keep_freed_memory

keep_freed_memory()
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(environment: dict[str, str]) -> int:
    """Pages that the kernel clears for the last of forty tensors of 40 MB."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_was_freed_is_used_again() -> None:
    assert new_pages({}) < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_a_users_own_settings_stay() -> None:
    assert new_pages({"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "131072"}) > 5_000
