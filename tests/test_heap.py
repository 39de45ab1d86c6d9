import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from histoproto.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**26)  # 256 MiB, which the C library would give back at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def second_tensor_faults(way):
    """Page faults of a large tensor after one of the same size was freed."""
    found = subprocess.run([sys.executable, "-c", PROGRAM, way], check=True, capture_output=True, text=True)
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes glibc")
def test_a_tensor_takes_over_the_memory_of_one_that_was_freed():
    assert second_tensor_faults("plain") > 50
    assert second_tensor_faults("keep") < 10
