"""A run folder as the other commands leave it, small and drawn by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from histoproto.evaluation.coverage import coverage_curve
from histoproto.masks import write_mask
from histoproto.metrics.counts import BACKGROUND_RULES, PixelCounts, count_image
from histoproto.metrics.coverage import ConfidenceCounts, count_confidence
from histoproto.metrics.summary import means, measures, plain, summary
from histoproto.taxonomy import BCSS_WSSS, IGNORE

GATES = {"predicted": 0.25, "oracle": 0.15, "none": 0.35}
"""Share of the picture that each gate gets wrong."""
GROUPS = 3
"""Slides that the images are from."""


def write_run(folder, taxonomy=BCSS_WSSS, images=6, size=32, photographs=None, truths=None):
    """Write a whole run and return its folder."""
    random = np.random.default_rng(7)
    write_training(folder, taxonomy)
    counts = {(gate, rule): [] for gate in GATES for rule in BACKGROUND_RULES}
    confidence, rows = ConfidenceCounts.nothing(len(taxonomy)), []
    for index in range(images):
        truth = truths[index] if truths else blotches(random, size, len(taxonomy) + 1)
        picture = photographs[index] if photographs else paint(random, truth, taxonomy)
        wrong = np.roll(truth, max(1, truth.shape[1] // 10), 1)
        for gate, share in GATES.items():
            share *= 0.5 + index / images
            prediction = np.where(random.random(truth.shape) < share, wrong, truth)
            prediction[prediction == IGNORE] = taxonomy.background
            for rule in BACKGROUND_RULES:
                found = count_image(torch.tensor(prediction), torch.tensor(truth), len(taxonomy), rule)
                counts[gate, rule].append(found)
                if (gate, rule) == ("predicted", "ignored"):
                    shown, miou = prediction, float(means(found)["miou"])
        name = f"patch_{index:02d}.png"
        files = {
            "image": folder.parent / "images" / name,
            "truth": folder.parent / "masks" / name,
            "prediction": Path("eval") / "masks" / name,
            "confidence": Path("eval") / "confidence" / name,
        }
        for file in files.values():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(files["image"])
        write_mask(files["truth"], truth, taxonomy)
        write_mask(folder / files["prediction"], shown, taxonomy)
        sure = np.where(shown == truth, 220, 90).astype(np.uint8)
        Image.fromarray(sure).save(folder / files["confidence"])
        confidence += count_confidence(*(torch.tensor(part) for part in (shown, sure / 255, truth)), len(taxonomy))
        group = f"slide_{index % GROUPS}"
        rows.append({"name": name, **files, "group": group, "miou": "" if np.isnan(miou) else miou})
    write_rows(folder / "eval" / "images.csv", rows)
    write_rows(folder / "eval" / "groups.csv", groups_of(counts["predicted", "ignored"], taxonomy))
    results = {
        gate: {rule: summary(PixelCounts.stacked(counts[gate, rule]), taxonomy.classes) for rule in BACKGROUND_RULES}
        for gate in GATES
    }
    for rules in results.values():
        for figures in rules.values():
            figures["interval"] = {name: [figures[name] - 0.05, figures[name] + 0.04] for name in ("miou", "dice")}
            figures["interval"][f"iou[{taxonomy.classes[0]}]"] = None
    write_json(
        folder / "eval" / "metrics.json",
        {
            "schema": 1,
            "split": "test",
            "classes": list(taxonomy.classes),
            "seed": 7,
            "gate": {"rule": "a class is allowed where its pooled score reaches its threshold"},
            "results": results,
            "variants": {
                "one-view": {gate: {"ignored": {**rules["ignored"], "miou": 0.123}} for gate, rules in results.items()}
            },
            "uncertainty": {"level": 0.95, "draws": 2000, "resampled": "groups (slides or patients)", "number": GROUPS},
            "classification": judged(taxonomy),
            "confidence": coverage_curve(confidence, taxonomy.classes),
        },
    )
    write_prototypes(folder, taxonomy, rows)
    write_slide(folder, taxonomy, picture)
    return folder


def groups_of(counts, taxonomy):
    """Return the rows of ``groups.csv``."""
    rows = []
    for group in range(min(GROUPS, len(counts))):
        own = counts[group::GROUPS]
        pooled = PixelCounts.stacked(own).pooled()
        ious = measures(pooled)["iou"]
        rows.append({"group": f"slide_{group}", "images": len(own), "miou": blank(means(pooled)["miou"])})
        rows[-1] |= {f"iou_{name}": blank(ious[place]) for place, name in enumerate(taxonomy.classes)}
    return rows


def blank(value):
    """Return a figure as a cell, blank where there is none."""
    return "" if plain(value) is None else plain(value)


def judged(taxonomy):
    """Return figures of the gate."""
    per_class = {
        name: {"ap": 0.93 - 0.04 * place, "f1": 0.88, "ece": 0.07, "brier": 0.11, "threshold": -1.0, "images": 4}
        for place, name in enumerate(taxonomy.classes)
    }
    bins = [
        {"from": 0.2, "to": 0.3, "claimed": 0.24, "true": 0.1, "images": 11},
        {"from": 0.8, "to": 0.9, "claimed": 0.85, "true": 0.9, "images": 13},
    ]
    mean = {"ap": 0.87, "f1": 0.88, "ece": 0.0707, "brier": 0.11}
    return {"per_class": per_class, "mean": mean, "reliability": bins}


def make_foreign(folder, gate="unknown", missing=()):
    """Turn a whole run into the folder of somebody else's masks."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"method": "TPRO", "preset": "made elsewhere", "seed": None, "masks": "/data/theirs"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = json.loads((folder / "eval" / "metrics.json").read_text())
    metrics["results"] = {gate: metrics["results"]["predicted"]}
    metrics |= {"variants": {}, "missing": list(missing), "seed": None, "gate": {"rule": "as their makers state it"}}
    del metrics["classification"], metrics["confidence"]
    write_json(folder / "eval" / "metrics.json", metrics)
    with (folder / "eval" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    write_rows(folder / "eval" / "images.csv", [{**row, "confidence": ""} for row in rows])
    (folder / "metrics.csv").unlink(missing_ok=True)
    return folder


def write_rows(file, rows):
    """Write a CSV table."""
    with file.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_training(folder, taxonomy=BCSS_WSSS, choose_by="holdout-loss"):
    """Write what ``train`` leaves."""
    folder.mkdir(parents=True)
    config = {
        "method": "lpd",
        "preset": "corrected",
        "seed": 7,
        "encoder": "self",
        "backbone": {"name": "small-conv", "weights": None},
        "training": {"epochs": 12, "choose_by": choose_by},
        "taxonomy": taxonomy.to_dict(),
        "study": "/data/study",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    classes = {name: 140 - 30 * index for index, name in enumerate(taxonomy.classes)}
    write_json(
        folder / "run.json",
        {
            "command": "histoproto train lpd study --run runs/lpd --seed 7",
            "versions": {"histoproto": "0.1.0", "torch": "2.9.0", "python": "3.11.2"},
            "seed": 7,
            "data_hash": "5f2b" * 16,
            "weights": [{"source": "none", "sha256": None, "tensors": 0, "licence": None}],
            "started": "2026-05-04T10:11:12+00:00",
            "seconds": 187.4,
            "choose_by": choose_by,
            "best_epoch": 9,
            "stopped": "finished",
            "splits": {
                "train": {"patches": 1640, "groups": 18, "per_class": classes},
                "test": {"patches": 240, "groups": 5, "per_class": classes},
            },
        },
    )
    lines = ["epoch,step,lr,loss,classification,similarity,diversity,holdout_loss,seconds"]
    for epoch in range(1, 13):
        fall = 0.9 / epoch
        numbers = (epoch, epoch * 40, 1e-3, 0.3 + fall, 0.2 + fall / 2, 0.1 + fall / 3, 0.05, 0.33 + fall, 15.0)
        lines.append(",".join(str(number) for number in numbers))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_prototypes(folder, taxonomy, rows):
    """Write activation maps of two prototypes of each class on two patches."""
    entries = []
    (folder / "eval" / "prototypes").mkdir()
    for label, name in enumerate(taxonomy.classes):
        for prototype in range(2):
            for row in rows[:2]:
                file = f"prototypes/{label}_{prototype}_{row['name']}"
                truth = np.asarray(Image.open(row["truth"]))
                glow = np.where(truth == label, 230 - 60 * prototype, 20).astype(np.uint8)
                small = Image.fromarray(glow).resize((14, 14), Image.Resampling.BOX)
                small.save(folder / "eval" / file)
                entries.append({"image": str(row["image"]), "class": name, "prototype": prototype, "file": file})
    write_json(folder / "eval" / "prototypes.json", entries)


def write_slide(folder, taxonomy, picture):
    """Write what ``predict`` leaves for one slide."""
    place = folder / "predictions" / "phantom_slide"
    place.mkdir(parents=True)
    Image.fromarray(np.tile(picture, (2, 3, 1))).save(place / "overlay.png")
    share = 1 / len(taxonomy)
    areas = {name: {"pixels": 123456, "share": share, "area_mm2": 0.5} for name in taxonomy.classes}
    write_json(place / "areas.json", {"mpp": 0.5, "areas": areas})


def write_json(file, content):
    """Write plain JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def blotches(random, size, values):
    """Return a mask of a few cells, nearest neighbour, with an ignored corner."""
    coarse = random.integers(0, values, (4, 4)).astype(np.uint8)
    mask = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.NEAREST)).copy()
    mask[: size // 8, : size // 8] = IGNORE
    return mask


def paint(random, truth, taxonomy):
    """Return a noisy pinkish picture whose shade follows the mask."""
    shade = 150 + 20 * np.minimum(truth, len(taxonomy)).astype(np.int64)
    noise = random.integers(-30, 30, truth.shape)
    return np.stack([shade + noise, shade // 2 + noise, shade + noise], -1).clip(0, 255).astype(np.uint8)
