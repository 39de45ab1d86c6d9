import signal
import subprocess
import sys
import time

import pytest

SETTINGS = """
model: {warmup_steps: 2}
training: {epochs: 4, batch: 8, save_every_steps: 2}
"""


def arguments(study, run, settings):
    return [
        sys.executable,
        "-m",
        "histoproto",
        "train",
        "lpd",
        str(study),
        "--run",
        str(run),
        "--settings",
        str(settings),
    ]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "training did not get that far"
        time.sleep(0.02)


@pytest.mark.slow
def test_lpd_killed_in_mid_epoch_and_resumed_ends_bitwise_where_it_would_have_ended(command, study, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(arguments(study, whole, settings), check=True, capture_output=True)

    process = subprocess.Popen(arguments(study, killed, settings), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rows = killed / "metrics.csv"
    wait_for(lambda: rows.is_file() and len(rows.read_text().splitlines()) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "gate" not in (killed / "run.json").read_text()

    assert command("train", "--resume", killed) == 0
    for which in ("last", "best"):
        name = f"checkpoints/{which}/model.safetensors"
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert command("train", "--resume", killed) == 2
