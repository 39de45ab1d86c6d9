import re
import shlex
import shutil
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.startswith("histoproto ")]


def test_the_commands_of_the_readme_run_in_the_order_in_which_they_stand(
    command, patches, slide, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(patches, tmp_path / "patches")
    shutil.copy(slide, tmp_path / "slide.tif")
    lines = commands()
    assert len(lines) >= 7
    for _program, *arguments in lines:
        assert command(*arguments) == 0, arguments
    assert (tmp_path / "runs" / "lpd-seg" / "report.html").is_file()
    assert (tmp_path / "out" / "slide" / "overlay.png").is_file()


def test_the_pages_that_the_readme_links_to_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
