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
    torch.ones(2**23)  # 32 MiB, which the C library would give back at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(60)][-1])
"""


def last_tensor_faults(way):
    """Page faults of a large tensor after many of the same size were freed: the first few may not fit on each other."""
    found = subprocess.run([sys.executable, "-c", PROGRAM, way], check=True, capture_output=True, text=True)
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes glibc")
def test_tensors_take_over_the_memory_of_those_that_were_freed():
    assert last_tensor_faults("plain") > 10  # with the largest pages that the kernel gives
    assert last_tensor_faults("keep") < 5
