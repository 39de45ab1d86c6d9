"""``histoproto zeroshot``."""

import csv
import json as json_text
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from histoproto.contracts import ImageEncoder
    from histoproto.data.manifest import PatchRecord, Study
    from histoproto.inference.zeroshot import ClassVectors

    Asked = tuple[PatchRecord, int]
    """A patch and the one class that it shows."""
    Look = Callable[[str, list[Asked]], Tensor]
    """From a split and its patches to their features."""
    Prompted = tuple[ClassVectors, dict[str, Any]]
    """What patches are compared with, and what it was made of."""

SCHEMA = "histoproto/zeroshot/1"


def zeroshot(
    study: Path,
    /,
    *,
    encoder: str,
    encoder_weights: str | None = None,
    split: str = "test",
    prompts: Literal["text", "image", "both"] = "both",
    prompt_file: str | None = None,
    bank: Path | None = None,
    per_class_limit: int | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Ask an encoder, without any training, which class a patch shows: can it tell your tissues apart?

    Each class becomes one vector: the mean embedding of its sentences (text prompts), or the mean feature of the
    training patches that show it alone (image prompts). A patch of the split takes the class whose vector is nearest
    by cosine. A low F1 with image prompts means that prototypes made with this encoder will confuse those classes; a
    low F1 with text prompts alone speaks for image prototypes.

    Only patches that show one class alone are asked about: by their label, or where they have none, by their mask. A
    class without such a patch is n/a, never 0. Features are kept in STUDY/features. Writes OUT/: zeroshot.json,
    zeroshot.csv, confusion.png.

    Args:
        study: Folder made by histoproto data import.
        encoder: A name that histoproto doctor --encoders lists, or run:RUN (backbone of an earlier run; images only).
        encoder_weights: Its weights, where the name alone does not say: a file, a folder, or hf:org/name@revision.
        split: Split of the study that is asked about; its patches need labels or masks.
        prompts: text, image, or both side by side.
        prompt_file: Sentences of each class: a YAML file, or the name of a shipped one such as phantom. [default: the
            one for the study's classes]
        bank: Take the prototypes of this image bank as image prompts, several per class, of which the nearest counts.
        per_class_limit: At most so many patches of each class, spread evenly over the split, for a quick look.
        out: Folder for the results.
            [default: STUDY/zeroshot/ENCODER-SPLIT]
        json: Print the results as JSON.

    Raises:
        ConfigError: if the encoder has no text tower and only text was asked for.
    """
    from histoproto.banks.features import fingerprint
    from histoproto.data.manifest import read_study
    from histoproto.wiring.encoders import load_encoder

    if per_class_limit is not None and per_class_limit < 1:
        raise ConfigError(f"--per-class-limit {per_class_limit}: a class needs at least 1 patch")
    source = read_study(study)
    kinds, notes = _kinds(encoder, prompts, bank)
    asked = _single_label(source, split, per_class_limit)
    prompted: dict[str, Prompted] = {}
    if "text" in kinds:
        prompted["text"] = _text_prompts(source, encoder, encoder_weights, prompt_file)
    network, loaded = load_encoder(encoder, encoder_weights)
    mark = fingerprint(network)
    look = partial(_look, source, network, mark, per_class_limit)
    if "image" in kinds:
        made = _bank_prompts(bank, source, encoder, mark) if bank else _patch_prompts(source, look, per_class_limit)
        prompted["image"] = made
        if split == "train":
            notes.append("the image prompts are made of patches of split train, so their F1 flatters them")
    results = {
        kind: made_of | _ask(source, look(split, asked), asked, vectors)
        for kind, (vectors, made_of) in prompted.items()
    }
    for kind, result in results.items():
        notes += _left_out(kind, result)
    weights_option = f" --encoder-weights {encoder_weights}" if encoder_weights else ""
    making = f"histoproto bank {study} --encoder {encoder}{weights_option}"
    record = {
        "schema": SCHEMA,
        "command": ["histoproto", *sys.argv[1:]],
        "study": str(source.folder.absolute()),
        "data_hash": source.data_hash(),
        "split": split,
        "per_class_limit": per_class_limit,
        "classes": list(source.taxonomy.classes),
        "encoder": {"name": encoder, "weights": encoder_weights, "fingerprint": mark, "loaded": asdict(loaded)},
        "results": results,
        "notes": notes,
        "next": f"histoproto train pbip {study} --bank {bank} --run runs/pbip" if bank else f"{making} --out bank",
    }
    folder = out or study / "zeroshot" / re.sub(r"[^\w.-]+", "-", f"{encoder}-{split}")
    _write(folder, record)
    if json:
        sys.stdout.write(json_text.dumps({"folder": str(folder), **record}, indent=2) + "\n")
    else:
        _show(folder, record)


def _kinds(encoder: str, prompts: str, bank: Path | None) -> tuple[list[str], list[str]]:
    """Return the kinds of prompts that are possible, and a sentence on the one that is not."""
    from histoproto.encoders.registry import TEXT

    if prompts == "text" and bank is not None:
        raise ConfigError("--bank serves image prompts; leave it out, or take --prompts both")
    kinds = ["text", "image"] if prompts == "both" else [prompts]
    if "text" not in kinds or encoder in TEXT:
        return kinds, []
    lacking = f"encoder {encoder} has no text tower (one of these has: {', '.join(TEXT)})"
    if prompts == "text":
        raise ConfigError(f"{lacking}; choose one of them, or take --prompts image")
    return ["image"], [f"{lacking}, so text prompts are left out"]


def _single_label(study: "Study", split: str, limit: int | None) -> "list[Asked]":
    """Return the patches of a split that show one class, by their label or else by their mask, and which."""
    from histoproto.progress import progress_bar

    records = study.split(split)
    by_mask = sum(record.labels is None and record.mask is not None for record in records)
    if by_mask:
        with progress_bar(f"Reading masks of {split}", by_mask) as advance:
            shown = [_shown_alone(record, study, advance) for record in records]
    else:
        shown = [_shown_alone(record, study) for record in records]
    single = [(record, index) for record, index in zip(records, shown, strict=True) if index is not None]
    if not single:
        known = by_mask or any(record.labels is not None for record in records)
        has = "no patch that shows one class alone" if known else "neither image-level labels nor masks"
        raise DataError(
            f"{study.folder}: split {split} has {has}, and only such a patch can be asked about; {_elsewhere(study)}"
        )
    if limit is None:
        return single
    of_class = [[pair for pair in single if pair[1] == index] for index in range(len(study.taxonomy))]
    return [pair for pairs in of_class for pair in _spread(pairs, limit)]


def _shown_alone(
    record: "PatchRecord", study: "Study", on_mask: "Callable[[int], None]" = lambda _count: None
) -> int | None:
    """Return the one class of a patch; None where it shows several, none, or nobody knows."""
    import numpy as np

    from histoproto.masks import read_mask

    if record.labels is not None:
        return record.labels.index(1) if sum(record.labels) == 1 else None
    if record.mask is None:
        return None
    values = np.unique(read_mask(record.mask, study.taxonomy))
    on_mask(1)
    classes = [int(value) for value in values if value < len(study.taxonomy)]  # neither background nor ignore
    return classes[0] if len(classes) == 1 else None


def _spread(pairs: "list[Asked]", limit: int) -> "list[Asked]":
    """Return at most so many, evenly spaced, so that they come from many slides."""
    kept = min(limit, len(pairs))
    return [pairs[place * len(pairs) // kept] for place in range(kept)]


def _elsewhere(study: "Study") -> str:
    """Name the splits that can be asked about."""
    alone = study.table[study.table["labels"].str.count("1").fillna(0) == 1]
    counts = alone["split"].value_counts()
    there = ", ".join(f"--split {name} ({counts[name]})" for name in study.splits if name in counts.index)
    return f"take {there}" if there else "no split has any; label some such patches and import them again"


def _text_prompts(study: "Study", encoder: str, weights: str | None, prompt_file: str | None) -> "Prompted":
    import torch

    from histoproto.encoders.registry import build_text_encoder
    from histoproto.inference.zeroshot import mean_vectors
    from histoproto.prompts.reader import read_prompts, shipped_prompts

    taxonomy = study.taxonomy
    if prompt_file is None and taxonomy.name not in shipped_prompts():
        raise ConfigError(
            f"no sentences are shipped for {taxonomy.name}; write a YAML file with sentences for each class and name "
            "it with --prompt-file, or take --prompts image"
        )
    sentences = read_prompts(prompt_file, taxonomy)
    tower, loaded = build_text_encoder(encoder, weights)
    with torch.inference_mode():
        vectors = mean_vectors([tower(lines).float() for lines in sentences])
    named = {name: list(lines) for name, lines in zip(taxonomy.classes, sentences, strict=True)}
    return vectors, {"made_of": "sentences", "sentences": named, "loaded": asdict(loaded)}


def _patch_prompts(study: "Study", look: "Look", limit: int | None) -> "Prompted":
    import torch

    from histoproto.inference.zeroshot import mean_vectors

    asked = _single_label(study, "train", limit)
    features = look("train", asked)
    owners = torch.tensor([index for _, index in asked])
    groups = [features[owners == index] for index in range(len(study.taxonomy))]
    counts = {name: len(group) for name, group in zip(study.taxonomy.classes, groups, strict=True)}
    return mean_vectors(groups), {"made_of": "training patches", "patches": counts}


def _bank_prompts(folder: Path, study: "Study", encoder: str, mark: str) -> "Prompted":
    from histoproto.banks.folder import read_bank
    from histoproto.inference.zeroshot import bank_vectors

    bank = read_bank(folder)
    classes = study.taxonomy.classes
    if bank.classes != classes:
        raise ConfigError(
            f"the bank {folder} has prototypes of {', '.join(bank.classes)}, but the study's classes are "
            f"{', '.join(classes)}; make a bank of this study"
        )
    if bank.encoder["fingerprint"] != mark:
        raise ConfigError(
            f"the bank {folder} was made with encoder {bank.encoder['name']}, and {encoder} is another or has other "
            "weights; name the bank's encoder, or make a bank with this one"
        )
    counts = dict(zip(classes, bank.counts, strict=True))
    return bank_vectors(bank.prototypes, bank.counts), {"made_of": f"bank {folder}", "prototypes": counts}


def _look(
    study: "Study", encoder: "ImageEncoder", mark: str, limit: int | None, split: str, asked: "list[Asked]"
) -> "Tensor":
    """Return the features of patches from STUDY/features, or compute and keep them."""
    from histoproto.banks.features import encode_patches, load_features, save_features
    from histoproto.banks.folder import content_key
    from histoproto.banks.white import RULE
    from histoproto.device import fastest_device
    from histoproto.progress import progress_bar

    by_label = all(record.labels is not None for record, _ in asked)
    of_bank = split == "train" and limit is None and by_label  # a bank takes no patch by its mask
    of: Any = "single" if of_bank else [split, *(record.name for record, _ in asked)]
    key = content_key({"data": study.data_hash(), "encoder": mark, "white": RULE, "of": of})
    file = study.folder / "features" / f"{key[:16]}.safetensors"
    kept = load_features(file, key)
    if kept is None:
        device = fastest_device()
        with progress_bar(f"Encoding {split}", len(asked)) as advance:
            kept = encode_patches(encoder, [record.path for record, _ in asked], device, advance)
        save_features(file, key, kept)
    return kept.vectors


def _ask(study: "Study", features: "Tensor", asked: "list[Asked]", vectors: "ClassVectors") -> dict[str, Any]:
    """Return the figures, ready for JSON."""
    import torch

    from histoproto.inference.zeroshot import nearest_classes, score

    classes = study.taxonomy.classes
    truth = torch.tensor([index for _, index in asked])
    scores = score(nearest_classes(features, vectors), truth, vectors, len(classes))
    each = zip(classes, scores.f1, scores.support, scores.left_out, strict=True)
    return {
        "macro_f1": scores.macro_f1,
        "per_class": {name: {"f1": f1, "support": n, "left_out": left_out} for name, f1, n, left_out in each},
        "confusion": scores.confusion,
    }


def _left_out(kind: str, result: dict[str, Any]) -> list[str]:
    """Say which classes could not be asked about."""
    return [
        f"{name} has no {kind} prompt, so its patches ({figures['left_out']}) do not count for {kind} prompts"
        for name, figures in result["per_class"].items()
        if figures["left_out"]
    ]


def _write(folder: Path, record: dict[str, Any]) -> None:
    """Write the three files; zeroshot.json comes last and says that they are complete."""
    from histoproto.atomic import replacing, write_json
    from histoproto.reports.zeroshot import write_confusions

    final = folder / "zeroshot.json"
    final.unlink(missing_ok=True)  # of an earlier call
    results = record["results"]
    rows = [
        {"prompts": kind, "class": name, "f1": _plain(figures["f1"]), "support": figures["support"]}
        for kind, result in results.items()
        for name, figures in [*result["per_class"].items(), ("macro", _macro(result))]
    ]
    with replacing(folder / "zeroshot.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    panels = {f"{kind} prompts, macro F1 {_words(r['macro_f1'])}": r["confusion"] for kind, r in results.items()}
    title = f"{record['encoder']['name']} on {record['split']}"
    with replacing(folder / "confusion.png") as temporary:
        write_confusions(temporary, panels, record["classes"], title)
    write_json(final, record)


def _macro(result: dict[str, Any]) -> dict[str, Any]:
    support = sum(figures["support"] for figures in result["per_class"].values())
    return {"f1": result["macro_f1"], "support": support}


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _words(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _show(folder: Path, record: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    results = record["results"]
    title = Text(f"{record['encoder']['name']} on {record['split']}: zero-shot F1")
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class")
    for kind in results:
        table.add_column(f"{kind} prompts", justify="right")
        table.add_column("patches", justify="right")
    for name in record["classes"]:
        table.add_row(Text(name), *_cells([result["per_class"][name] for result in results.values()]))
    table.add_section()
    table.add_row("macro", *_cells([_macro(result) for result in results.values()]), style="bold")
    console = Console()
    console.print(table)
    for line in (*record["notes"], f"Look at {folder / 'confusion.png'}"):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    say_next(record["next"])


def _cells(columns: list[dict[str, Any]]) -> list[str]:
    return [cell for figures in columns for cell in (_words(figures["f1"]), str(figures["support"]))]
