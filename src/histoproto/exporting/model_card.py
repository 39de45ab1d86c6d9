"""The model card: what a model is, what it is worth, how to use it, and under which terms."""

from typing import Any, Literal

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from histoproto import __version__
from histoproto.exporting.exported import Exported
from histoproto.exporting.figures import MEASURES, Figures
from histoproto.exporting.licences import shown

Form = Literal["onnx", "hub-folder"]
TAGS = ("histopathology", "hematoxylin-and-eosin", "semantic-segmentation", "weakly-supervised", "pytorch")
CHOICES = {
    "holdout-loss": "which had the lowest loss on held-out labels",
    "validation-masks": "which agreed best with the validation masks",
}
VIEWS = {
    "none": "each image as it is",
    "d4": "the mean over eight flips and quarter turns of each image",
    "released": "the mean over six views of each image, mirrored and of other contrast",
}

_PAGES = Environment(
    loader=PackageLoader("histoproto.exporting"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_PAGES.filters["cell"] = lambda text: str(text).replace("|", "\\|")
_PAGES.filters["hex"] = lambda colour: "#{:02x}{:02x}{:02x}".format(*colour)


def model_card(model: Exported, form: Form, file_name: str, left_out: dict[str, Any] | None) -> str:
    """Return the card as Markdown with the hub's front matter.

    Args:
        model: what it is about.
        form: what it lies beside.
        file_name: of the ONNX file or the folder, for the examples.
        left_out: record of frozen weights that are not in the folder.
    """
    figures = model.figures if isinstance(model.figures, Figures) else None
    settings = model.run.settings
    return _PAGES.get_template("model_card.md.j2").render(
        front_matter=yaml.safe_dump(_front_matter(model, form, figures), sort_keys=False).strip(),
        model=model,
        form=form,
        file_name=file_name,
        title=file_name.removesuffix(".onnx"),
        version=__version__,
        taxonomy=model.run.taxonomy,
        gate=model.gate,
        thresholds=", ".join(f"{name} {limit:.3f}" for name, limit in _limits(model)),
        inference=settings.inference,
        views=VIEWS[settings.inference.views],
        segmenter=settings.method == "segmenter",
        figures=figures,
        epoch=_epoch(model),
        measures=list(MEASURES.values()),
        settings=yaml.safe_dump(model.settings, sort_keys=False).strip(),
        weights=[{**record, "source": shown(record["source"])} for record in model.weights],
        left_out=left_out and {**left_out, "source": shown(left_out["source"])},
        versions=", ".join(f"{name} {number}" for name, number in model.record["versions"].items()),
    )


def _front_matter(model: Exported, form: Form, figures: Figures | None) -> dict[str, Any]:
    tags = [*TAGS, model.run.settings.method, *(["onnx"] if form == "onnx" else [])]
    return {
        "license": model.terms.licence,
        **({"license_name": model.terms.name} if model.terms.name else {}),
        "library_name": "histoproto",
        "pipeline_tag": "image-segmentation",
        "tags": tags,
        **({"metrics": ["mean_iou"]} if figures else {}),
    }


def _epoch(model: Exported) -> str | None:
    """Return which epoch the checkpoint *best* is of, and why this one."""
    number, choice = model.record.get("best_epoch"), model.record["choose_by"]
    if model.checkpoint != "best" or not number:
        return None
    return f"the weights after the last epoch, {number}" if choice == "last" else f"epoch {number}, {CHOICES[choice]}"


def _limits(model: Exported) -> list[tuple[str, float]]:
    return list(zip(model.run.taxonomy.classes, model.gate.thresholds, strict=True))
