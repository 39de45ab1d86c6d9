"""``histoproto bank``."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, DataError

if TYPE_CHECKING:
    from histoproto.banks.building import ClassBank
    from histoproto.banks.features import PatchFeatures
    from histoproto.banks.folder import Bank
    from histoproto.banks.settings import BankSettings, PerClass
    from histoproto.contracts import ImageEncoder, LoadedWeights
    from histoproto.data.manifest import PatchRecord, Study

SCHEMA = 1
RECORDED = ("histoproto", "torch", "scikit-learn", "numpy")


def bank(
    study: Path,
    /,
    *,
    out: Path,
    encoder: str,
    encoder_weights: str | None = None,
    per_class: str = "3",
    nearest: int = 100,
    choose: Literal["clustered", "random"] = "clustered",
    prototype: Literal["mean", "centre"] = "mean",
    white_share: float = 0.5,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make image prototypes of each class from the training patches that show it alone.

    Patches that are mostly white are left out, a frozen encoder looks at the rest, k-means with the cosine distance
    divides each class into sub-classes, and the patches nearest to each centre stand for it: their mean feature is
    its prototype. Features are kept in STUDY/features, so that other settings cost seconds.

    Writes OUT/: prototypes.safetensors, patches.parquet (the chosen patches), sheets/ (a picture of them per class) and
    bank.json.

    Args:
        study: Folder made by histoproto data import.
        out: New folder for the bank.
        encoder: run:RUN (backbone of an earlier run), or a name that histoproto doctor --encoders lists.
        encoder_weights: Its weights, where the name alone does not say: a file, a folder, or hf:org/name@revision.
        per_class: Sub-classes of each class: one number, one per class as in 3,3,2,1, or auto (by silhouette).
        nearest: Patches nearest to each centre that make the prototype; fewer where there are fewer.
        choose: clustered, or random groups and patches for comparison.
        prototype: mean of the chosen patches, or centre of the cluster (as released).
        white_share: Leave out patches with a larger share of white pixels.
        seed: Of k-means and of the random choice.
        json: Print the summary as JSON.

    Raises:
        DataError: if the study has no usable patches, or the folder holds something else.
    """
    from histoproto.banks.features import fingerprint
    from histoproto.banks.folder import BANK_FILE, content_key, read_bank
    from histoproto.banks.settings import BankSettings
    from histoproto.data.manifest import read_study
    from histoproto.wiring.encoders import load_encoder

    settings = BankSettings(_numbers(per_class), nearest, choose, prototype, white_share, seed)
    source = read_study(study)
    if encoder.startswith("run:"):
        encoder = f"run:{Path(encoder.removeprefix('run:')).absolute()}"
    network, loaded = load_encoder(encoder, encoder_weights)
    identity = {"name": encoder, "weights": encoder_weights, "fingerprint": fingerprint(network), "dim": network.dim}
    key = _key(content_key, source, identity, settings)
    made = (out / BANK_FILE).is_file()
    if made:
        finished = read_bank(out)
        if finished.record["key"] != key:
            raise DataError(
                f"{out} holds a bank of other patches, encoder or settings (see its {BANK_FILE}); "
                "choose another folder, or remove it"
            )
    else:
        finished = _make(source, network, loaded, identity, settings, key, out)
    _report(finished, study, made=made, json=json)


def _numbers(text: str) -> "PerClass":
    """Return K as the settings want it."""
    if text == "auto":
        return "auto"
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--per-class {text!r}: give a number, one per class as in 3,3,2,1, or auto") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _key(content_key: Any, study: "Study", identity: dict[str, Any], settings: "BankSettings") -> str:
    from dataclasses import asdict

    from histoproto.banks.white import RULE

    content = {
        "schema": SCHEMA,
        "data": study.data_hash(),
        "encoder": identity["fingerprint"],
        "settings": asdict(settings),
        "white": RULE,
    }
    key: str = content_key(content)
    return key


def _make(
    study: "Study",
    encoder: "ImageEncoder",
    loaded: "LoadedWeights",
    identity: dict[str, Any],
    settings: "BankSettings",
    key: str,
    out: Path,
) -> "Bank":
    """Build the bank and write its folder."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from histoproto.atomic import write_json
    from histoproto.banks.building import build_bank
    from histoproto.banks.folder import BANK_FILE, PATCHES_FILE, PROTOTYPES_FILE, file_hash, read_bank, writing_bank

    records, owner = _single_label(study)
    with writing_bank(out) as folder:
        features = _features(study, records, encoder, identity)
        built = build_bank(
            study.taxonomy.classes, np.array(owner), features.vectors.numpy(), features.white.numpy(), settings
        )
        rows = np.stack([sub_class.prototype for part in built for sub_class in part.sub_classes])
        save_file({"prototypes": torch.from_numpy(rows)}, folder / PROTOTYPES_FILE)
        _patches(study, records, built).to_parquet(folder / PATCHES_FILE, index=False)
        _sheets(study, records, built, folder)
        record = _record(study, loaded, identity, settings, key, built)
        write_json(folder / BANK_FILE, record | {"prototypes_sha256": file_hash(folder / PROTOTYPES_FILE)})
    return read_bank(out)


def _single_label(study: "Study") -> "tuple[list[PatchRecord], list[int]]":
    """Return the training patches that show one class, and which."""
    labelled = [(record, record.labels) for record in study.split("train") if record.labels is not None]
    single = [(record, labels.index(1)) for record, labels in labelled if sum(labels) == 1]
    if not single:
        raise DataError(
            f"{study.folder}: no training patch shows one class alone ({len(labelled)} have labels), so there is "
            "nothing to make prototypes of; label some such patches, or train lpd, which needs no bank"
        )
    return [record for record, _ in single], [index for _, index in single]


def _features(
    study: "Study", records: "list[PatchRecord]", encoder: "ImageEncoder", identity: dict[str, Any]
) -> "PatchFeatures":
    """Return features and white shares from STUDY/features, or compute and keep them."""
    from histoproto.banks.features import encode_patches, load_features, save_features
    from histoproto.banks.folder import content_key
    from histoproto.banks.white import RULE
    from histoproto.device import fastest_device
    from histoproto.progress import progress_bar

    key = content_key({"data": study.data_hash(), "encoder": identity["fingerprint"], "white": RULE, "of": "single"})
    file = study.folder / "features" / f"{key[:16]}.safetensors"
    kept = load_features(file, key)
    if kept is not None:
        return kept
    device = fastest_device()
    with progress_bar("Encoding patches", len(records)) as advance:
        features = encode_patches(encoder, [record.path for record in records], device, advance)
    save_features(file, key, features)
    return features


def _patches(study: "Study", records: "list[PatchRecord]", built: "list[ClassBank]") -> Any:
    """Return one row per chosen patch."""
    import pandas as pd

    shas = {str(study.absolute(str(row["path"]))): row["sha256"] for row in study.table.to_dict("records")}
    return pd.DataFrame(
        [
            {
                "class": part.name,
                "sub_class": number,
                "rank": rank,
                "cosine": float(cosine),
                "path": str(records[row].path),
                "sha256": shas[str(records[row].path)],
            }
            for part in built
            for number, sub_class in enumerate(part.sub_classes, start=1)
            for rank, (row, cosine) in enumerate(zip(sub_class.chosen, sub_class.cosines, strict=True), start=1)
        ]
    )


def _sheets(study: "Study", records: "list[PatchRecord]", built: "list[ClassBank]", folder: Path) -> None:
    """Draw one picture per class."""
    from histoproto.banks.folder import SHEETS
    from histoproto.banks.sheets import Strip, draw_sheet

    (folder / SHEETS).mkdir()
    taxonomy = study.taxonomy
    for part, title, colour in zip(built, taxonomy.titles, taxonomy.colours, strict=True):
        strips = [
            Strip(
                f"Sub-class {number}: {sub_class.members} patches, {len(sub_class.chosen)} in the bank, "
                f"cosine to its centre {sub_class.cosines[0]:.3f} to {sub_class.cosines[-1]:.3f}",
                [records[row].path for row in sub_class.chosen],
            )
            for number, sub_class in enumerate(part.sub_classes, start=1)
        ]
        draw_sheet(f"{title} ({part.name})", colour, strips).save(folder / SHEETS / f"{part.name}.png")


def _record(
    study: "Study",
    loaded: "LoadedWeights",
    identity: dict[str, Any],
    settings: "BankSettings",
    key: str,
    built: "list[ClassBank]",
) -> dict[str, Any]:
    from dataclasses import asdict
    from importlib.metadata import version

    from histoproto.banks.white import RULE

    return {
        "schema": SCHEMA,
        "key": key,
        "command": ["histoproto", *sys.argv[1:]],
        "study": str(study.folder.absolute()),
        "data_hash": study.data_hash(),
        "taxonomy": study.taxonomy.to_dict(),
        "encoder": identity | {"loaded": asdict(loaded)},
        "settings": asdict(settings),
        "white_rule": f"{RULE}; patches with more than {settings.white_share:.0%} white pixels are left out",
        "classes": [
            {
                "name": part.name,
                "single_label": part.candidates,
                "white": part.white,
                "silhouettes": {str(groups): value for groups, value in part.silhouettes.items()},
                "sub_classes": [
                    {
                        "members": sub_class.members,
                        "chosen": len(sub_class.chosen),
                        "mean_cosine": float(sub_class.cosines.mean()),
                    }
                    for sub_class in part.sub_classes
                ],
            }
            for part in built
        ],
        "versions": {name: version(name) for name in RECORDED},
    }


def _report(bank: "Bank", study: Path, *, made: bool, json: bool) -> None:
    following = f"histoproto train pbip {study} --bank {bank.folder} --run runs/pbip"
    if json:
        content = {"folder": str(bank.folder), "already_made": made, "next": following, **bank.record}
        sys.stdout.write(json_text.dumps(content, indent=2) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "class", "patches of it alone", "white, left out", "sub-classes: patches, mean cosine", title=str(bank.folder)
    )
    for entry in bank.record["classes"]:
        groups = "; ".join(f"{group['members']}, {group['mean_cosine']:.3f}" for group in entry["sub_classes"])
        table.add_row(entry["name"], str(entry["single_label"]), str(entry["white"]), groups)
    console = Console()
    console.print(table)
    said = f"{bank.folder} is already made of these patches with these settings; nothing was done" if made else ""
    rule = f"White: {bank.record['white_rule']}"
    for line in filter(None, (rule, f"Look at {bank.folder / 'sheets'}", said)):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    say_next(following)
