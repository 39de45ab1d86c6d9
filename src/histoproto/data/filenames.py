"""What the name of a patch says: labels, source and physical size. Never looks at the rest of the path."""

import re
from pathlib import Path

from histoproto.errors import LabelError
from histoproto.taxonomy import Taxonomy

_BRACKETED = re.compile(r"^(?P<base>[^\[\]]*)\[(?P<labels>[^\[\]]*)\]$")
_STYLES = (re.compile(r"\d+"), re.compile(r"\d( \d)*"), re.compile(r"\d(, ?\d)*"))
"""``1101``, ``1 0 0 1`` and ``1, 0, 1``."""
_MPP = re.compile(r"MPP-(\d+\.\d+|\d+)")
_TCGA_PATIENT = re.compile(r"^TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])")
_NUMBERED_SOURCE = re.compile(r"^[A-Za-z]+-\d+(?=[-_])")


def digits_in_name(path: Path, taxonomy: Taxonomy) -> str | None:
    """Return the labels in the brackets that end a file's name as digits such as ``1101``; None without brackets.

    Raises:
        LabelError: if there are brackets elsewhere, or other than one 0 or 1 per class in them.
    """
    stem = path.stem
    if "[" not in stem and "]" not in stem:
        return None
    match = _BRACKETED.match(stem)
    if match is None:
        raise LabelError(
            f"{path.name}: labels are read from one pair of brackets at the end of the name, such as "
            f"[{'1' * len(taxonomy)}]; correct the labels"
        )
    return parse_digits(match["labels"], path.name, taxonomy)


def parse_digits(text: str, where: str, taxonomy: Taxonomy) -> str:
    """Return ``1101``, ``1 0 0 1`` or ``1, 0, 1`` as plain digits, one per class.

    Args:
        text: the labels without brackets.
        where: file or row, for the message.
        taxonomy: gives the number of classes.

    Raises:
        LabelError: if the text has another form, number of digits, or digits other than 0 and 1.
    """
    if not any(style.fullmatch(text) for style in _STYLES):
        raise LabelError(
            f"{where}: labels [{text}] are not digits such as [1101], [1 0 0 1] or [1, 0, 1]; correct the labels"
        )
    digits = re.sub(r"[, ]", "", text)
    if len(digits) != len(taxonomy):
        raise LabelError(
            f"{where}: {len(digits)} label digits, but {taxonomy.name} has {len(taxonomy)} classes "
            f"({', '.join(taxonomy.classes)}); is this a {taxonomy.name} patch?"
        )
    if set(digits) - {"0", "1"}:
        raise LabelError(f"{where}: labels [{text}] hold a digit other than 0 (absent) and 1 (present)")
    return digits


def mpp_in_name(name: str) -> float | None:
    """Return microns per pixel where the name says ``MPP-0.2500``, else None."""
    match = _MPP.search(name)
    return float(match[1]) if match and float(match[1]) > 0 else None


def tcga_patient(name: str) -> str | None:
    """Return the patient part ``TCGA-XX-YYYY`` that begins a TCGA file's name, else None."""
    match = _TCGA_PATIENT.match(name)
    return match[0] if match else None


def numbered_source(name: str) -> str | None:
    """Return a leading word with a number, such as ``PHANTOM-01`` of ``PHANTOM-01-0007-xmin0``, else None."""
    match = _NUMBERED_SOURCE.match(name)
    return match[0] if match else None


def leading_token(name: str) -> str:
    """Return what stands before the first ``-``, ``_`` or ``[`` of a name without its ending."""
    return re.split(r"[-_\[]", Path(name).stem, maxsplit=1)[0]
