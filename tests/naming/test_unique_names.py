from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from histoproto.naming import unique_names


def test_unique_stems_stay_as_they_are():
    assert unique_names([Path("/a/x.png"), Path("/b/y.svs")]) == ["x", "y"]


def test_files_of_one_name_are_told_apart_by_their_folders():
    assert unique_names([Path("/d/s1/4.png"), Path("/d/s2/4.png"), Path("/d/s2/5.png")]) == ["s1_4", "s2_4", "5"]


def test_files_that_differ_in_their_suffix_keep_it():
    assert unique_names([Path("/d/a.png"), Path("/d/a.jpg")]) == ["a_png", "a_jpg"]


def test_a_file_named_twice_has_one_name():
    assert unique_names([Path("/d/a.png"), Path("/d/a.png")]) == ["a", "a"]


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=2, max_size=4), min_size=1, max_size=6, unique_by=tuple))
def test_different_files_have_different_names(parts):
    paths = [Path("/", *part[:-1], f"{part[-1]}.png") for part in parts]
    assert len(set(unique_names(paths))) == len(paths)
