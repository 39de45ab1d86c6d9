import histoproto.progress
from histoproto.progress import LogLines, progress_bar, progress_told_to


def test_bars_inside_a_block_are_told_to_its_listener_alone(capsys):
    told = []
    with progress_told_to(lambda done, total: told.append((done, total))), progress_bar("Tiles", 5) as advance:
        advance(2)
        advance(3)
    with progress_bar("Tiles", 1) as advance:
        advance(1)
    assert told == [(2, 5), (5, 5)]
    assert capsys.readouterr().err == ""


def test_a_log_file_gets_a_line_now_and_then_and_none_for_what_is_soon_done(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(histoproto.progress, "monotonic", lambda: clock[0])
    lines = LogLines("Tiles of a.svs")
    for seconds, done in ((1, 1), (40, 20), (50, 30), (80, 50), (120, 100)):
        clock[0] = float(seconds)
        lines.reach(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "Tiles of a.svs: 20 of 100, 0:02:40 left",
        "Tiles of a.svs: 50 of 100, 0:01:20 left",
        "Tiles of a.svs: 100 of 100, after 0:02:00",
    ]
    soon = LogLines("Tiles of b.svs")
    clock[0] += 29
    soon.reach(3, 3)
    assert capsys.readouterr().err == ""
