"""What the licences of the weights that went in mean for the model that came out."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoproto.banks.folder import BANK_FILE
from histoproto.runs import RunFolder

_NO_DERIVATIVES = re.compile(r"\bND\b|no.?derivative", re.IGNORECASE)
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial|research", re.IGNORECASE)
_NOT_KNOWN = re.compile(r"see |none stated|not stated", re.IGNORECASE)
_CC_NC_ND = "cc-by-nc-nd-4.0"


@dataclass(frozen=True)
class Terms:
    """Under which terms a model may leave the house."""

    licence: str
    """The hub's identifier."""
    name: str | None
    """What ``other`` stands for."""
    sentence: str
    """The reason, for people."""
    shareable: bool
    """False where a licence forbids to pass on what was made of its weights."""


def forbids_sharing(licence: str | None) -> bool:
    """Return whether a licence forbids to pass on changed weights, and these weights to people who have not agreed."""
    return bool(licence and _NO_DERIVATIVES.search(licence))


def terms_of(weights: Iterable[Mapping[str, Any]]) -> Terms:
    """Return the terms that follow from pretrained weights; the strictest decide.

    Args:
        weights: their records as in ``run.json``: ``source`` and ``licence``.
    """
    licences = {str(record["source"]): record["licence"] for record in weights}
    if not licences:
        return Terms(
            "other",
            "not-chosen-yet",
            "No pretrained weights went into this model, so no licence follows from any. Whoever trained it chooses "
            "one, as far as the terms of the training data allow.",
            shareable=True,
        )
    strict = _named(licences, forbids_sharing)
    if strict:
        named = all(_CC_NC_ND in str(licences[source]).lower() for source in strict)
        return Terms(
            _CC_NC_ND if named else "other",
            None if named else "no-derivatives",
            f"{_listed(strict)} may not be passed on, nor what was made of them. Keep this model to yourself.",
            shareable=False,
        )
    unknown = _named(licences, lambda licence: licence is None or bool(_NOT_KNOWN.match(licence)))
    doubt = f" The licence of {_listed(unknown)} is not known here: ask before you share this model." if unknown else ""
    if bound := _named(licences, lambda licence: bool(licence and _NON_COMMERCIAL.search(licence))):
        why = f"{_listed(bound)} may be used for non-commercial research alone, and so may this model."
        return Terms("other", "non-commercial-research", why + doubt, shareable=True)
    if unknown:
        return Terms("unknown", None, doubt.strip(), shareable=True)
    return Terms(
        "other",
        "not-chosen-yet",
        "The weights that went into this model allow any use under their own terms, listed here. Whoever trained it "
        "chooses its licence, as far as the terms of the training data allow.",
        shareable=True,
    )


def weights_behind(run: RunFolder) -> list[dict[str, Any]]:
    """Return the records of all pretrained weights that a run goes back to, each once.

    The run that made a segmenter's pseudo masks brings its own, and so does a run or an image bank that weights were
    taken from (``run:PATH``, ``bank:PATH``). Where such a folder is gone, it stands for itself, its licence not known.

    Args:
        run: its folder.
    """
    entries: list[dict[str, Any]] = list(run.read_record().get("weights", []))
    if source := run.read_config().get("source"):
        entries.append({"source": f"run:{source}", "sha256": None, "licence": None})
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for behind in _origin(entry):
            found.setdefault(behind["sha256"] or behind["source"], behind)
    return list(found.values())


def _origin(entry: dict[str, Any]) -> list[dict[str, Any]]:
    kind, _, place = entry["source"].partition(":")
    if entry["source"] == "none":
        return []
    if kind == "run" and RunFolder(Path(place)).record_file.is_file():
        return weights_behind(RunFolder(Path(place)))
    if kind == "bank" and (file := Path(place) / BANK_FILE).is_file():
        return _origin(json.loads(file.read_text(encoding="utf-8"))["encoder"]["loaded"])
    return [entry]


def _named(licences: Mapping[str, str | None], wanted: Callable[[str | None], bool]) -> list[str]:
    return [source for source, licence in licences.items() if wanted(licence)]


def _listed(sources: list[str]) -> str:
    return " and ".join(f"`{shown(source)}`" for source in sources)


def shown(text: str) -> str:
    """Return a source, path or argument as others may see it: of a path on this machine, its last part alone."""
    before, path = _split(text)
    return f"{before}{Path(path).name}" if Path(path).expanduser().is_absolute() else text


def _split(text: str) -> tuple[str, str]:
    for mark in ("run:", "bank:"):
        if text.startswith(mark):
            return mark, text.removeprefix(mark)
    option, equals, value = text.partition("=")
    return (option + equals, value) if option.startswith("--") and equals else ("", text)
