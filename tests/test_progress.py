from histoproto.progress import progress_bar, progress_told_to


def test_bars_inside_a_block_are_told_to_its_listener_alone(capsys):
    told = []
    with progress_told_to(lambda done, total: told.append((done, total))), progress_bar("Tiles", 5) as advance:
        advance(2)
        advance(3)
    with progress_bar("Tiles", 1) as advance:
        advance(1)
    assert told == [(2, 5), (5, 5)]
    assert capsys.readouterr().err == ""
