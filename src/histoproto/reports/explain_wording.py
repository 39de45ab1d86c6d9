"""What is wrong with a run's prototypes, in sentences that say what to do."""

from collections.abc import Sequence
from typing import NamedTuple

from histoproto.prototypes.health import ALIKE, DEAD_SHARE, Finding, superfluous


class Prototype(NamedTuple):
    """Which prototype this is."""

    class_name: str
    number: int
    """From 1 within its class."""
    row: int
    """From 0 among all; row of the tensor ``prototypes``."""

    @property
    def name(self) -> str:
        """For people, for example ``TUM 2``."""
        return f"{self.class_name} {self.number}"


class Remedy(NamedTuple):
    """What the run was made with, as far as advice depends on it."""

    bank: bool
    """Whether prototypes come from an image bank."""
    diversity_weight: float | None
    """Of the method; None where it has none."""


class Caution(NamedTuple):
    """One finding in words."""

    finding: Finding
    sentence: str
    advice: str


def name_prototypes(classes: Sequence[str], counts: Sequence[int]) -> list[Prototype]:
    """Return the prototypes in the order of their rows."""
    pairs = [(name, number + 1) for name, count in zip(classes, counts, strict=True) for number in range(count)]
    return [Prototype(name, number, row) for row, (name, number) in enumerate(pairs)]


def warn(findings: Sequence[Finding], prototypes: Sequence[Prototype], remedy: Remedy) -> list[Caution]:
    """Return each finding in words, with what to do about it."""
    spare = superfluous(findings)
    left = _left([prototype for prototype in prototypes if prototype.row not in spare], prototypes)
    return [_warning(finding, [prototypes[row] for row in finding.prototypes], left, remedy) for finding in findings]


def by_advice(cautions: Sequence[Caution]) -> list[tuple[str, list[Caution]]]:
    """Return the findings grouped by what to do about them, so that nothing is said twice."""
    advices = dict.fromkeys(caution.advice for caution in cautions)
    return [(advice, [caution for caution in cautions if caution.advice == advice]) for advice in advices]


def _left(alive: Sequence[Prototype], prototypes: Sequence[Prototype]) -> dict[str, int]:
    """Return how many prototypes of each class are worth keeping, at least 1."""
    classes = dict.fromkeys(prototype.class_name for prototype in prototypes)
    return {name: max(1, sum(prototype.class_name == name for prototype in alive)) for name in classes}


def _warning(finding: Finding, affected: Sequence[Prototype], left: dict[str, int], remedy: Remedy) -> Caution:
    names = _listed([prototype.name for prototype in affected])
    classes = list(dict.fromkeys(prototype.class_name for prototype in affected))
    if finding.kind == "dead":
        sentence = (
            f"{names} is dead: it wins {finding.value:.1%} of the places in patches labelled {classes[0]} against the "
            f"other prototypes of its class (less than {DEAD_SHARE:.0%})."
        )
        return Caution(finding, sentence, _fewer(left, remedy))
    correlation = f"correlation of their activation maps {finding.value:.3f}, limit {ALIKE}"
    if len(classes) == 1:
        sentence = f"{names} are duplicates: they fire in the same places ({correlation}) and do the work of one."
        return Caution(finding, sentence, _fewer(left, remedy))
    sentence = f"{names} are duplicates across classes: they fire in the same places ({correlation})."
    advice = (
        f"The run does not tell {_listed(classes)} apart there. Add training patches that show one of these classes "
        "without the other, check their labels, or train longer."
    )
    return Caution(finding, sentence, advice)


def _fewer(left: dict[str, int], remedy: Remedy) -> str:
    numbers = _listed([f"{count} of {name}" for name, count in left.items()])
    if remedy.bank:
        option = ",".join(str(count) for count in left.values())
        return (
            f"Train with fewer prototypes: make the image bank again with --per-class {option} (worth keeping: "
            f"{numbers}), or with an encoder that sees more differences within a class."
        )
    counts = sorted(set(left.values()))
    each = f"model.prototypes_per_class: [{', '.join(map(str, left.values()))}] in a file for --settings"
    option = f"--prototypes {counts[0]}" if len(counts) == 1 else each
    fewer = f"Train with fewer prototypes: {option} (worth keeping: {numbers})"
    if remedy.diversity_weight is None:
        return f"{fewer}."
    if remedy.diversity_weight == 0:
        return f"{fewer}, or give model.diversity_weight, now 0, a value such as 0.5."
    return f"{fewer}, or raise model.diversity_weight, now {remedy.diversity_weight:g}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
