import gc
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_many import Engine, predict_all
from histoproto.commands.predict_task import Task
from histoproto.commands.slide_state import read_state
from tests.commands.faults import (
    at_work,
    kill_whoever_is_at,
    lives,
    meanwhile,
    picture,
    processes_below,
    results,
    slow_and_quick,
    wait_for,
)

SLOW_PX = 700
"""Side of a picture that takes a second or more: long enough to be caught in the middle."""


@pytest.fixture
def inputs(tmp_path):
    return slow_and_quick(tmp_path / "inputs", SLOW_PX)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def states(out):
    return {folder.name: read_state(folder).state for folder in out.iterdir() if read_state(folder)}


def test_an_input_whose_worker_is_killed_once_is_tried_again(command, trained, inputs, out, capsys):
    with meanwhile(kill_whoever_is_at(out / "slow")):
        assert command("predict", trained, inputs, "--out", out, "--jobs", 2) == 0
    assert "slow: its process was killed (SIGKILL; is there enough memory?)" in capsys.readouterr().err
    assert set(states(out).values()) == {"done"}


def test_an_input_that_kills_its_workers_fails_alone_and_can_be_retried(command, trained, inputs, out, capsys):
    with meanwhile(kill_whoever_is_at(out / "slow", times=2)):
        assert command("predict", trained, inputs, "--out", out, "--jobs", 2) == 3
    said = capsys.readouterr().out
    assert "its process was killed (SIGKILL; is there enough memory?), 2 times" in said
    assert f"Next: histoproto slides retry {out}" in said
    assert states(out) == {"slow": "failed", "quick0": "done", "quick1": "done", "quick2": "done"}
    assert command("slides", "retry", out) == 0
    assert states(out)["slow"] == "done"


@pytest.fixture
def _no_collection():
    """Keep the collector's callbacks away, of which hypothesis has one: an interruption that meets them is lost."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("jobs", [(), ("--jobs", 2)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_all_workers_and_says_how_to_go_on(number, jobs, command, trained, inputs, out, capsys):
    workers = []

    def interrupt():
        workers.append(wait_for(lambda: at_work(out / "slow")))
        os.kill(os.getpid(), number)

    with meanwhile(interrupt):
        assert command("predict", trained, inputs, "--out", out, *jobs) == 130
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("Interrupted; ")
    assert sentence.endswith(" of 4 inputs are done; the same command goes on")
    assert at_work(out / "slow") is None
    assert not jobs or not lives(workers[0])
    assert "slow" not in states(out)
    assert not [file for file in (out / "slow").iterdir() if ".tmp" in file.name]


@pytest.mark.slow
def test_a_killed_command_leaves_no_orphan_and_started_again_ends_where_it_would_have(
    command, trained, inputs, out, tmp_path, capsys
):
    picture(inputs / "slow2.png", 10, SLOW_PX)
    arguments = ("predict", trained, inputs, "--jobs", 2, "--out")
    line = [sys.executable, "-m", "histoproto", *map(str, arguments), str(out)]
    killed = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (out / "quick0" / "state.json").is_file() and at_work(out / "slow"))
    family = processes_below(killed.pid)
    assert at_work(out / "slow") in family
    killed.kill()
    killed.wait()
    wait_for(lambda: not any(map(lives, family)), seconds=15)
    finished = {name for name, state in states(out).items() if state == "done"}
    assert "quick0" in finished
    assert "slow" not in finished

    assert command(*arguments, out) == 0
    said = capsys.readouterr().err
    assert {name for name in states(out) if f"{name}: was done before" in said} == finished
    assert command(*arguments, tmp_path / "undisturbed") == 0
    assert results(out) == results(tmp_path / "undisturbed")


@pytest.mark.parametrize("shards", [(("--shard", "1/2"), ("--shard", "2/2")), ((), ())])
def test_two_commands_at_once_predict_each_input_once(shards, command, trained, inputs, out, capsys):
    def predict(shard):
        return command("predict", trained, inputs, "--out", out, "--jobs", 1, *shard)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(predict, shards)) == [0, 0]
    said = capsys.readouterr().err
    names = ("slow", "quick0", "quick1", "quick2")
    assert [said.count(f"{name}: done in") for name in names] == [1, 1, 1, 1]
    assert sum(said.count(f"{name}: was done before") for name in names) == (0 if shards[0] else 4)
    assert states(out) == dict.fromkeys(names, "done")


def test_inputs_of_one_name_and_of_any_script_keep_their_own_folders(command, trained, tmp_path, out):
    first = picture(tmp_path / "Fälle 1" / "Schnitt β 甲.png", 1)
    second = picture(tmp_path / "Fälle 2" / "Schnitt β 甲.png", 2)
    assert command("predict", trained, first, second, first, "--out", out, "--jobs", 2) == 0
    assert states(out) == {"Fälle 1_Schnitt β 甲": "done", "Fälle 2_Schnitt β 甲": "done"}
    assert read_state(out / "Fälle 2_Schnitt β 甲").input == str(second)
    masks = [(out / name / "overlay.png").read_bytes() for name in states(out)]
    assert masks[0] != masks[1]
    for shard in ("1/2", "2/2"):  # names do not depend on the share
        assert command("predict", trained, first, second, "--out", out, "--shard", shard) == 0
    assert len(states(out)) == 2


def test_results_of_another_file_are_left_alone(command, trained, tmp_path, out, capsys):
    first, second = (picture(tmp_path / place / "x.png", seed) for seed, place in enumerate("ab"))
    assert command("predict", trained, first, "--out", out) == 0
    made = results(out)
    assert command("predict", trained, second, "--out", out) == 2
    assert f"holds the result of {first}" in capsys.readouterr().err
    assert results(out) == made


def test_results_that_will_be_made_anew_are_counted_with_the_reason_before_anything_begins(
    command, trained, tmp_path, out, capsys
):
    folder = tmp_path / "inputs"
    for number, name in enumerate("abc"):
        picture(folder / f"{name}.png", number)

    def said(*options):
        assert command("predict", trained, folder, "--out", out, *options) == 0
        return capsys.readouterr().err.splitlines()

    assert not [line for line in said() if "anew" in line]
    assert not [line for line in said("--jobs", 1) if "anew" in line]
    picture(folder / "b.png", 7)
    first, *rest = said("--jobs", 1)
    assert first == "Note: 1 result of an older file: predicted anew."
    assert [line.split(" in ")[0] for line in rest] == [
        "1/3 a: was done before",
        "2/3 b: done",
        "3/3 c: was done before",
    ]
    picture(folder / "c.png", 8)
    assert said("--precision", "bf16", "--shard", "1/1")[0] == (
        "Note: 3 results of other options and an older file: predicted anew."
    )
    assert not [line for line in said("--precision", "bf16") if "anew" in line]


def test_damaged_files_are_listed_and_the_good_ones_are_done(command, trained, slide, tmp_path, out, capsys):
    folder = tmp_path / "inputs"
    picture(folder / "good.png")
    (folder / "empty.tif").touch()
    whole = slide.read_bytes()
    (folder / "whole.tif").write_bytes(whole)
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 3
    (folder / "corrupt.tif").write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    assert command("predict", trained, folder, "--out", out, "--jobs", 2) == 3
    said = capsys.readouterr().out
    assert f"│ {folder / 'empty.tif'} " in said
    assert "the file is empty; copy it again from its source" in said
    ended = states(out)
    assert (ended["good"], ended["whole"], ended["empty"]) == ("done", "done", "failed")
    for name in ("truncated", "corrupt"):  # either refused or read around, but never in silence
        assert ended[name] == "failed" or json.loads((out / name / "areas.json").read_text())["notes"]


def test_a_full_disk_fails_what_does_not_fit_and_the_same_command_goes_on(command, trained, inputs, out, capsys):
    quick = sorted(inputs.glob("quick*"))
    assert command("predict", trained, *quick, "--out", out) == 0
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, unlimited[1]))  # a write beyond fails, as on a full disk
    try:
        assert command("predict", trained, inputs, "--out", out) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert states(out) == {"slow": "failed", "quick0": "done", "quick1": "done", "quick2": "done"}
    assert "File too large; free some space or choose another folder" in read_state(out / "slow").error
    assert not [file for file in (out / "slow").iterdir() if ".tmp" in file.name]
    assert command("predict", trained, inputs, "--out", out) == 0
    assert capsys.readouterr().err.count("was done before") == 6


def test_a_bug_that_one_input_meets_is_its_failure_with_the_exception_as_reason(trained, inputs, out):
    tasks = [Task(name, inputs / f"{name}.png", out / name) for name in ("quick0", "quick1")]
    options = PredictOptions(trained)
    object.__setattr__(options, "assume_mpp", "no number")  # stands for any mistake of ours
    outcomes = predict_all(options, tasks, Engine(jobs=2))
    assert [outcome.kind for outcome in outcomes.values()] == ["failed", "failed"]
    assert "its process ended with TypeError" in outcomes["quick0"].error
    assert read_state(out / "quick1").error == outcomes["quick1"].error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--jobs", 2, "--checkpoint", "gone"), "has no gone checkpoint"),
        (("--jobs", 0), "--jobs 0: at least one input at a time"),
        (("--shard", "0/3"), "--shard 0/3: give the share and the number of shares, from 1/8 to 8/8"),
        (("--shard", "4/3"), "--shard 4/3: give the share"),
        (("--shard", "first"), "--shard first: give the share"),
        (("--address", "head:6379"), "--address head:6379 is for --engine ray"),
    ],
)
def test_wrong_options_end_in_one_sentence(arguments, sentence, command, trained, inputs, out, capsys):
    assert command("predict", trained, inputs, "--out", out, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_the_only_input_fails_the_command_in_one_sentence_whoever_predicts_it(command, trained, tmp_path, out, capsys):
    bad = tmp_path / "bad.png"
    bad.touch()
    for jobs in ((), ("--jobs", 1)):
        assert command("predict", trained, bad, "--out", out, *jobs) == 2
        assert capsys.readouterr().err == f"DataError: {bad}: the file is empty; copy it again from its source\n"
    assert states(out) == {"bad": "failed"}
