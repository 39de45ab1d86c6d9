from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.data.holdout import LabelledPatch, held_out_groups

PATCHES = st.lists(
    st.builds(LabelledPatch, st.sampled_from("abcdefgh"), st.sampled_from(["100", "010", "001", "110", "000"])),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(PATCHES, st.floats(0, 0.5))
def test_no_class_leaves_training_whatever_is_held_out(patches, fraction):
    taken = held_out_groups(patches, fraction)
    staying = [patch for patch in patches if patch.group not in taken]
    assert bool(staying) == bool(patches)
    for place in range(3):
        assert any(patch.labels[place] == "1" for patch in staying) == any(
            patch.labels[place] == "1" for patch in patches
        )


def test_the_choice_does_not_depend_on_the_order_of_the_patches():
    patches = [LabelledPatch(f"g{number % 10}", "10" if number % 3 else "01") for number in range(100)]
    assert held_out_groups(patches, 0.2) == held_out_groups(patches[::-1], 0.2)


def test_the_share_is_kept_when_groups_are_small():
    patches = [LabelledPatch(f"g{number % 50}", "11") for number in range(1000)]
    taken = held_out_groups(patches, 0.15)
    assert sum(patch.group in taken for patch in patches) in range(140, 161)


def test_a_rare_class_is_shown_on_both_sides_where_training_can_spare_it():
    patches = [LabelledPatch(f"g{number % 40}", "10") for number in range(400)]
    patches += [LabelledPatch(f"rare{number}", "01") for number in range(4)]
    rare = {f"rare{number}" for number in range(4)}
    assert len(held_out_groups(patches, 0.1) & rare) == 1


def test_a_class_of_two_sources_stays_in_training_whole():
    patches = [LabelledPatch(f"g{number % 40}", "10") for number in range(400)]
    patches += [LabelledPatch("rare1", "01"), LabelledPatch("rare2", "01")]
    held_out = held_out_groups(patches, 0.1)
    assert held_out
    assert not held_out & {"rare1", "rare2"}


def test_a_single_group_stays_in_training():
    assert held_out_groups([LabelledPatch("only", "10")] * 10, 0.15) == set()
