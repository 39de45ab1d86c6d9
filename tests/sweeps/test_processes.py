import os
import signal
import threading
import time

from histoproto.sweeps.processes import run_jobs, threads_each
from histoproto.sweeps.steps import total_units
from tests.sweeps.toy_jobs import job, work


def test_jobs_are_made_and_one_that_fails_does_not_stop_the_others(tmp_path):
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "fail"), job(tmp_path, "c")]
    looks = []
    ended = run_jobs(jobs, work, 2, lambda outcomes: looks.append(len(outcomes)))
    codes = {outcome.job.name: outcome.code for outcome in ended}
    assert codes == {"a": 0, "b": 2, "c": 0}
    assert [one.done for one in jobs] == [True, False, True]
    assert total_units(jobs) == (2, 3)
    assert looks[-1] == 3
    (failed,) = [outcome for outcome in ended if outcome.code]
    assert failed.reason == "ToyError: it does not work"


def test_an_interruption_stops_what_runs_and_begins_nothing_more(tmp_path):
    jobs = [job(tmp_path, "a", "wait"), job(tmp_path, "b", "wait"), job(tmp_path, "c")]

    def interrupt_once_two_have_begun():
        while sum(path.name == "begun" for path in tmp_path.rglob("begun")) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_once_two_have_begun, daemon=True).start()
    ended = run_jobs(jobs, work, 2, lambda _outcomes: None)
    assert sorted((outcome.job.name, outcome.code) for outcome in ended) == [("a", 130), ("b", 130)]
    assert not jobs[2].folder.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_processes_share_the_cores_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(2) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    assert [threads_each(at_once) for at_once in (1, 2, 3, 100)] == [8, 4, 2, 1]
