import pytest

from histoproto.training.launch import is_leader, machines, processes_here


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # some clusters set this for every job
    assert (is_leader(), processes_here(), machines()) == (True, 1, 1)


@pytest.mark.parametrize(("rank", "leader"), [("0", True), ("5", False)])
def test_eight_processes_on_two_machines(monkeypatch, rank, leader):
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert (is_leader(), processes_here(), machines()) == (leader, 4, 2)
