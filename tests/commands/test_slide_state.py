import fcntl
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from histoproto.commands.predict import shard_of
from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_many import Engine
from histoproto.commands.predict_record import read_commands, record_command
from histoproto.commands.predict_table import conclude
from histoproto.commands.predict_task import Outcome, tasks_of
from histoproto.commands.slide_state import (
    STATE,
    Stopwatch,
    done,
    failed,
    is_finished,
    is_locked,
    read_state,
    slide_lock,
    write_state,
)
from histoproto.errors import DataError, RunError
from tests.commands.faults import wait_for

STAMP = {"bytes": 3, "gate": {"thresholds": [0.5]}}


@pytest.fixture
def folder(tmp_path):
    """Finished results of one input."""
    folder = tmp_path / "out" / "a"
    folder.mkdir(parents=True)
    (folder / "mask.png").write_bytes(b"mask")
    write_state(folder, done(folder, Path("a.svs"), STAMP, Stopwatch()))
    return folder


def test_results_count_as_finished_with_the_same_stamp_and_all_their_bytes(folder):
    assert is_finished(folder, STAMP)
    assert not is_finished(folder, {**STAMP, "bytes": 4})
    (folder / "mask.png").write_bytes(b"mas")
    assert not is_finished(folder, STAMP)
    (folder / "mask.png").unlink()
    assert not is_finished(folder, STAMP)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "histoproto/slide/1"}', '{"schema": "other"}'])
def test_a_damaged_state_says_nothing(text, folder):
    (folder / STATE).write_text(text)
    assert read_state(folder) is None
    assert not is_finished(folder, STAMP)


def test_a_failure_is_never_finished(folder):
    write_state(folder, failed(folder, Path("a.svs"), "a.svs: no such file", Stopwatch()))
    state = read_state(folder)
    assert (state.state, state.error, state.files) == ("failed", "a.svs: no such file", {})
    assert not is_finished(folder, STAMP)


def hold(folder, held):
    with slide_lock(folder) as mine:
        held.send(mine)
        signal.pause()


def test_the_lock_of_a_killed_process_is_free(folder):
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(folder, there))
    process.start()
    assert here.recv() is True
    assert is_locked(folder)
    with slide_lock(folder) as mine:
        assert not mine
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_for(lambda: not is_locked(folder), seconds=5)
    with slide_lock(folder) as mine:
        assert mine


def test_where_the_file_system_keeps_no_locks_work_goes_on(folder, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with slide_lock(folder) as mine:
        assert mine
    assert not is_locked(folder)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_input_is_in_exactly_one_shard_under_one_name(count, tmp_path):
    files = [tmp_path / place / "s.svs" for place in "dbca"] + [tmp_path / "t.svs"]
    whole = tasks_of(files, tmp_path / "out")
    shards = [shard_of(tasks_of(files[::-1], tmp_path / "out"), f"{i + 1}/{count}") for i in range(count)]
    assert sorted(task for shard in shards for task in shard) == whole
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_folder_remembers_every_command_and_an_input_belongs_to_the_last_one(tmp_path):
    options, other = PredictOptions(Path("/runs/a")), PredictOptions(Path("/runs/b"), assume_mpp=0.5)
    tasks = tasks_of([tmp_path / f"{name}.svs" for name in "abc"], tmp_path)
    record_command(tmp_path, options, Engine(jobs=2), tasks[:2])
    record_command(tmp_path, other, Engine("ray"), tasks[1:])
    record_command(tmp_path, options, Engine(jobs=3), tasks[2:])
    first, second = read_commands(tmp_path)
    assert (first.options, first.engine, list(first.inputs)) == (other, Engine("ray"), ["b"])
    assert (second.options, second.engine.jobs, list(second.inputs)) == (options, 3, ["a", "c"])


def test_a_folder_that_is_none_of_predict_or_is_damaged_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(RunError, match=r"holds no predict\.json; name the folder given to histoproto predict --out"):
        read_commands(tmp_path)
    (tmp_path / "predict.json").write_text('{"schema": "histoproto/predict/1", "commands": [{"options": 3}]}')
    with pytest.raises(RunError, match=r"predict\.json is damaged; give the command histoproto predict again"):
        read_commands(tmp_path)


def test_status_tells_what_is_done_running_waiting_and_failed(command, tmp_path, capsys):
    tasks = tasks_of([tmp_path / f"{name}.svs" for name in ("done", "failed", "running", "waiting")], tmp_path)
    record_command(tmp_path, PredictOptions(Path("/runs/a")), Engine(), tasks)
    for task in tasks[:3]:
        task.folder.mkdir()
    state = done(tasks[0].folder, tasks[0].file, STAMP, Stopwatch())
    write_state(tasks[0].folder, replace(state, seconds=12.34))
    write_state(tasks[1].folder, failed(tasks[1].folder, tasks[1].file, "it is [cracked]", Stopwatch()))
    with slide_lock(tasks[2].folder):
        assert command("slides", "status", tmp_path, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert command("slides", "status", tmp_path) == 0
    shown = capsys.readouterr().out
    assert told["counts"] == {"done": 1, "running": 1, "waiting": 1, "failed": 1}
    assert all(row["name"] == row["state"] for row in told["inputs"])
    assert told["inputs"][3]["error"] == "it is [cracked]"
    assert "1 done, 1 running, 1 waiting, 1 failed" in shown
    assert "12.3" in shown
    assert "it is [cracked]" in shown
    assert "Next: the same histoproto predict again" in shown


def test_status_offers_to_retry_once_nothing_waits(command, tmp_path, capsys):
    (task,) = tasks_of([tmp_path / "a.svs"], tmp_path)
    record_command(tmp_path, PredictOptions(Path("/runs/a")), Engine(), [task])
    write_state(task.folder, failed(task.folder, task.file, "it is cracked", Stopwatch()))
    assert command("slides", "status", tmp_path) == 0
    assert f"Next: histoproto slides retry {tmp_path}" in capsys.readouterr().out


def test_an_interrupted_command_counts_all_its_inputs_where_it_lists_failures(tmp_path, capsys):
    tasks = tasks_of([tmp_path / f"{name}.svs" for name in "abcde"], tmp_path)
    outcomes = {name: Outcome("failed", error="it is cracked") for name in "ab"}
    assert conclude(outcomes, tasks, tmp_path, Path("/runs/a"), json=False) == 130
    assert "2 of 5 inputs failed" in capsys.readouterr().out


def test_a_folder_of_another_input_is_refused_whether_it_is_finished_or_only_recorded(tmp_path):
    options = PredictOptions(Path("/runs/a"))
    first, second = (tasks_of([tmp_path / place / "x.tif"], tmp_path / "out") for place in "ab")
    record_command(tmp_path / "out", options, Engine(), first)
    with pytest.raises(DataError, match=r"out/x is the folder of .*/a/x\.tif, not of .*/b/x\.tif; choose another"):
        record_command(tmp_path / "out", options, Engine(), second)
    first[0].folder.mkdir()
    write_state(first[0].folder, done(first[0].folder, first[0].file, STAMP, Stopwatch()))
    (tmp_path / "out" / "predict.json").unlink()
    with pytest.raises(DataError, match=r"out/x holds the result of .*/a/x\.tif, not of .*/b/x\.tif; choose another"):
        record_command(tmp_path / "out", options, Engine(), second)
    record_command(tmp_path / "out", replace(options, checkpoint="last"), Engine(), first)


def test_a_folder_that_cannot_be_written_to_is_refused_in_one_sentence(tmp_path):
    (tmp_path / ".lock").mkdir()  # permissions do not stop an administrator; this stops anybody
    with pytest.raises(DataError, match=r"cannot be written to \(.*\); choose another folder with --out"):
        record_command(tmp_path, PredictOptions(Path("/runs/a")), Engine(), [])


def test_nothing_to_retry_is_said(command, tmp_path, capsys):
    record_command(tmp_path, PredictOptions(Path("/runs/a")), Engine(), tasks_of([tmp_path / "a.svs"], tmp_path))
    assert command("slides", "retry", tmp_path) == 0
    assert "nothing failed" in capsys.readouterr().out
