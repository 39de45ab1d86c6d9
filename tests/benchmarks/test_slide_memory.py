import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIDE_PX = 60_000


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute and a half of an idle core; a busy machine takes longer
def test_a_slide_of_60000_px_with_six_classes_takes_less_than_two_gigabytes(tmp_path):
    file = tmp_path / "figures.json"
    program = [sys.executable, str(ROOT / "benchmarks" / "slide_memory.py"), "--side", str(SIDE_PX)]
    line = [*program, "--tissue", "0.004", "--json", str(file)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    figures = json.loads(file.read_text())
    assert figures["side_px"] == SIDE_PX
    assert figures["tiles"] > 100
    assert figures["tissue"] == pytest.approx(0.004, rel=0.2)
    assert figures["peak_gib"] * 2**30 < 2e9
