"""What a study holds, split by split."""

from typing import Any

from histoproto.data.manifest import Study


def split_summary(study: Study) -> dict[str, dict[str, Any]]:
    """Return counts per split: ``patches``, ``groups``, ``labelled``, ``masks`` and ``per_class`` by name."""
    summary = {}
    for split in study.splits:
        rows = study.table[study.table["split"] == split]
        digits = [str(labels) for labels in rows["labels"].dropna()]
        summary[split] = {
            "patches": len(rows),
            "groups": int(rows["group"].nunique()),
            "labelled": len(digits),
            "masks": int(rows["mask"].notna().sum()),
            "per_class": {
                name: sum(labels[place] == "1" for labels in digits)
                for place, name in enumerate(study.taxonomy.classes)
            },
        }
    return summary
