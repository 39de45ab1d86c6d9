import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histoproto.commands.child_process import follow_command
from tests.commands.faults import lives, wait_for


def toil(folder, kill_after_s, stubborn):
    """Work in a child process until interrupted; a stubborn one goes on."""
    follow_command(kill_after_s)
    (folder / "pid").write_text(f"{os.getpid()}\n")
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / "interrupted").touch()
            if not stubborn:
                return


def command(folder, kill_after_s, stubborn):
    """Begin a child and wait for it, as a command does."""
    process = multiprocessing.get_context("spawn").Process(target=toil, args=(folder, kill_after_s, stubborn))
    process.start()
    process.join()


def begun(folder, kill_after_s=None, stubborn=False):
    """Return a command in a process group of its own, as a shell makes it, and the id of its child."""
    code = (
        "from pathlib import Path\nfrom tests.commands.test_child_process import command\n"
        f"if __name__ == '__main__':\n    command(Path({str(folder)!r}), {kill_after_s}, {stubborn})"
    )
    (folder / "command.py").write_text(code)
    root = Path(__file__).parents[2]
    line = [sys.executable, str(folder / "command.py")]
    process = subprocess.Popen(line, process_group=0, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": root})
    pid = wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text().strip())
    return process, int(pid)


def end(process, pid):
    """Leave nothing behind, whatever the test found."""
    for one in (process.pid, pid):
        if lives(one):
            os.kill(one, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(("kill_after_s", "stubborn"), [(None, False), (0.2, True)])
def test_a_child_whose_command_is_killed_is_interrupted_and_a_stubborn_one_is_killed(kill_after_s, stubborn, tmp_path):
    process, pid = begun(tmp_path, kill_after_s, stubborn)
    try:
        process.kill()
        wait_for(lambda: not lives(pid), seconds=15)
        assert (tmp_path / "interrupted").exists()
    finally:
        end(process, pid)


def test_ctrl_c_at_the_terminal_reaches_the_command_alone(tmp_path):
    process, pid = begun(tmp_path)
    try:
        os.killpg(process.pid, signal.SIGSTOP)  # the terminal's group: the command can tell its child nothing
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
        assert lives(pid)
        assert not (tmp_path / "interrupted").exists()
    finally:
        end(process, pid)
