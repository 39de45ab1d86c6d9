from histoproto.prototypes.health import Finding
from histoproto.reports.explain_wording import Remedy, by_advice, name_prototypes, warn

PROTOTYPES = name_prototypes(("TUM", "STR"), (3, 2))


def advice(findings, remedy):
    return [caution.advice for caution in warn(findings, PROTOTYPES, remedy)]


def test_prototypes_are_counted_from_one_within_their_class():
    assert [prototype.name for prototype in PROTOTYPES] == ["TUM 1", "TUM 2", "TUM 3", "STR 1", "STR 2"]
    assert [prototype.row for prototype in PROTOTYPES] == [0, 1, 2, 3, 4]


def test_counts_that_differ_go_into_a_settings_file():
    (words,) = advice([Finding("dead", (4,), 0.002)], Remedy(bank=False, diversity_weight=0.5))
    assert "model.prototypes_per_class: [3, 1]" in words
    assert "diversity_weight, now 0.5" in words


def test_counts_that_agree_are_one_option():
    findings = [Finding("duplicate", (0, 1, 2), 0.99), Finding("duplicate", (3, 4), 0.985)]
    first, second = advice(findings, Remedy(bank=False, diversity_weight=None))
    assert first == second
    assert "--prototypes 1" in first
    assert "diversity" not in first
    cautions = warn(findings, PROTOTYPES, Remedy(bank=False, diversity_weight=None))
    assert [len(same) for _, same in by_advice(cautions)] == [2]


def test_a_run_with_a_bank_is_sent_back_to_its_bank():
    (words,) = advice([Finding("duplicate", (0, 2), 0.99)], Remedy(bank=True, diversity_weight=None))
    assert "--per-class 2,2" in words


def test_a_missing_diversity_loss_is_proposed():
    (words,) = advice([Finding("dead", (0,), 0.0)], Remedy(bank=False, diversity_weight=0.0))
    assert "now 0" in words


def test_duplicates_across_classes_are_no_reason_for_fewer_prototypes():
    (caution,) = warn([Finding("duplicate", (1, 3), 0.99)], PROTOTYPES, Remedy(bank=False, diversity_weight=0.5))
    assert "TUM 2 and STR 1" in caution.sentence
    assert "without the other" in caution.advice
