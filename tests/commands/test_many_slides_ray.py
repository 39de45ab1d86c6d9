import subprocess
import sys
from pathlib import Path

import pytest

from histoproto.commands.slide_state import read_state
from tests.commands.faults import at_work, kill_whoever_is_at, slow_and_quick, wait_for

pytest.importorskip("ray")
SLOW_PX = 1000


@pytest.fixture
def inputs(tmp_path):
    return slow_and_quick(tmp_path / "inputs", SLOW_PX)


def start(trained, inputs, out, *options):
    """Start a prediction on Ray as a user would."""
    arguments = ("predict", trained, inputs, "--out", out, "--engine", "ray", *options)
    line = [sys.executable, "-m", "histoproto", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end_of(process):
    try:
        said = process.communicate(timeout=240)[1]
    finally:
        process.kill()
    return process.returncode, said


def states(out):
    return {folder.name: read_state(folder).state for folder in out.iterdir() if read_state(folder)}


@pytest.mark.slow
def test_an_input_whose_actor_dies_is_tried_again_and_nothing_of_the_cluster_stays(trained, inputs, tmp_path):
    out = tmp_path / "out"
    before = set(Path("/tmp").glob("histoproto-ray-*"))
    process = start(trained, inputs, out, "--jobs", 2)
    kill_whoever_is_at(out / "slow")()
    code, said = end_of(process)
    assert code == 0, said
    assert "slow: its actor ended" in said
    assert set(states(out).values()) == {"done"}
    assert set(Path("/tmp").glob("histoproto-ray-*")) == before


@pytest.mark.slow
def test_inputs_of_a_node_that_leaves_are_predicted_by_those_that_stay(trained, inputs, tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
        out = tmp_path / "out"
        process = start(trained, inputs, out, "--address", cluster.address)
        at_slow = wait_for(lambda: at_work(out / "slow"), seconds=120)
        raylet = int(Path(f"/proc/{at_slow}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        (leaving,) = [node for node in nodes if raylet in pids_of(node)]
        cluster.remove_node(leaving, allow_graceful=False)
        code, said = end_of(process)
        assert code == 0, said
        assert "slow: its actor ended" in said
        assert set(states(out).values()) == {"done"}
    finally:
        cluster.shutdown()


def pids_of(node):
    return {info.process.pid for kind in node.all_processes.values() for info in kind}


def test_a_cluster_that_is_not_there_is_said_in_one_sentence(command, trained, inputs, tmp_path, capsys):
    options = ("--out", tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:1")
    assert command("predict", trained, inputs, *options) == 2
    said = capsys.readouterr().err
    assert "--address 127.0.0.1:1: no Ray cluster can be reached there" in said
    assert len(said.splitlines()) == 1


def test_without_ray_one_sentence_says_how_to_install_it(command, trained, inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command("predict", trained, inputs, "--out", tmp_path / "out", "--engine", "ray") == 2
    assert capsys.readouterr().err == (
        'ConfigError: --engine ray needs Ray; install it: pip install "histoproto[ray]"\n'
    )
