"""The pieces of work that are measured, each under a name."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from benchmarks.slide_speed import drawn_slide
from benchmarks.speed.measuring import as_dict, measure
from benchmarks.speed.reference import reference_maps, reference_step
from benchmarks.speed.work import Work, plainly
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from histoproto.banks.features import encode_patches
from histoproto.cams.dense_crf import DenseCRF, DenseCRFSettings, dense_crf
from histoproto.commands.predict_slide import predict_slide
from histoproto.contracts import Region, TissueModel
from histoproto.data.phantom import write_patches
from histoproto.encoders.cards import CARDS
from histoproto.encoders.medclip import image_encoder
from histoproto.heap import keep_freed_memory
from histoproto.images import read_rgb
from histoproto.inference.compiled import compile_maps
from histoproto.inference.decision import decide
from histoproto.inference.evidence import COARSEST_STRIDE_PX, evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.refine import refiner_of
from histoproto.inference.settings import InferenceSettings
from histoproto.presets.registry import METHODS
from histoproto.slides.reader import open_image
from histoproto.slides.resample import at_mpp
from histoproto.slides.tiling import tile_grid
from histoproto.taxonomy import BCSS_WSSS
from histoproto.threads import side_by_side
from histoproto.training.optimizer import make_optimizer

SEED = 7
"""Of the stochastic depth of MiT, so that two ways of computing a step skip the same branches."""
SLIDE_MPP = 0.5
"""Microns per pixel of the drawn slide, at which it is predicted."""


def step(
    device: torch.device,
    *,
    way: str,
    precision: str = "bf16",
    warmups: int = 1,
    repeats: int = 2,
    checked: bool = True,
    **sizes: Any,
) -> dict[str, Any]:
    """A training step: forward, backward, optimiser.

    Args:
        device: where.
        way: ours or plain.
        precision: bf16 or fp32, of ours.
        warmups: steps before the clock starts.
        repeats: steps that are timed.
        checked: of ours, compute the first loss in single precision as well, and count operations.
        sizes: of `Work`.
    """
    work = Work(**sizes)
    model = work.model().to(device)
    images = work.images().to(device).contiguous(memory_format=torch.channels_last)
    labels = work.labels().to(device)
    if way == "plain":
        plainly(model)
    optimizer = make_optimizer(model, METHODS[work.method].presets[work.preset].training)
    losses = []

    def loss_of(*, reduced: bool) -> Tensor:
        torch.manual_seed(SEED)
        if way == "plain":
            return reference_step(model, images, labels)  # type: ignore[arg-type]  # PBIP or LPD
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            return model.training_step(images, labels, 0).loss

    with torch.no_grad():
        exact = float(loss_of(reduced=False)) if way == "ours" and checked else None

    def take() -> None:
        loss = loss_of(reduced=precision == "bf16")
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    measured = measure(
        take, device, warmups=warmups, repeats=repeats, counted=take if way == "ours" and checked else None
    )
    return as_dict(measured, first_loss=float(losses[0]), first_loss_fp32=exact)


def evaluation(device: torch.device, *, way: str, images: int = 8, repeats: int = 3) -> dict[str, Any]:
    """Masks of images in six views with a dense CRF, of PBIP as released; seconds are of one image."""
    work = Work("pbip", "released", batch=images)
    model = work.model().to(device).eval()
    pictures = [(255 * picture).byte().permute(1, 2, 0).numpy() for picture in work.images()]
    settings = InferenceSettings(views="released", background="unlikely", refine="crf", precision="bf16")

    def ours(rgb: np.ndarray) -> Tensor:
        evidence = evidence_of(model, rgb, work.side_px, settings)
        return decide(evidence.maps, evidence.scores > 0, refine=refiner_of(model, rgb, settings)).mask

    def plain(rgb: np.ndarray) -> Tensor:
        image = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float().div(255).to(device)
        found = reference_maps(model, image)
        shares = interpolate(found.maps, size=image.shape[-2:], mode="bilinear", align_corners=False)[0].softmax(0)
        refined = DenseCRF(image, DenseCRFSettings())(shares)
        return (refined * (found.scores[0] > 0)[:, None, None]).argmax(0)

    if way == "plain":
        plainly(model)
        measured = measure(lambda: [plain(one) for one in pictures], device, warmups=1, repeats=repeats)
        return _per(as_dict(measured), images)
    measured = measure(
        lambda: list(side_by_side(ours, pictures, device)),
        device,
        warmups=1,
        repeats=repeats,
        counted=lambda: [ours(one) for one in pictures],
    )
    agreed = [_agreement(model, one, work.side_px, settings) for one in pictures]
    return _per(as_dict(measured, argmax_agreement=float(np.mean(agreed))), images)


def _agreement(model: TissueModel, rgb: np.ndarray, side_px: int, settings: InferenceSettings) -> float:
    """Return the share of pixels whose strongest class map is the plain way's."""
    image = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float().div(255).to(next(model.parameters()).device)
    maps = reference_maps(model, image).maps
    plain = interpolate(maps, size=image.shape[-2:], mode="bilinear", align_corners=False)[0].argmax(0).cpu()
    return float((evidence_of(model, rgb, side_px, settings).maps.argmax(0) == plain).float().mean())


def refinement(device: torch.device, *, way: str, images: int = 16, repeats: int = 3) -> dict[str, Any]:
    """Dense CRF of a batch of five classes; the plain way takes one image after the other."""
    work = Work("lpd", "corrected", batch=images)
    pictures = work.images().to(device)
    shares = (8 * torch.rand(images, 5, 14, 14, generator=torch.Generator().manual_seed(2))).to(device)
    shares = interpolate(shares, size=pictures.shape[-2:], mode="bilinear", align_corners=False).softmax(1)
    settings = DenseCRFSettings()

    def plain() -> list[Tensor]:
        return [DenseCRF(image, settings)(given) for image, given in zip(pictures, shares, strict=True)]

    def batched() -> Tensor:
        return dense_crf(pictures, shares, settings)

    measured = measure(plain if way == "plain" else batched, device, warmups=1, repeats=repeats)
    return _per(as_dict(measured), images)


def slide(device: torch.device, *, way: str, compiled: bool = False, tiles: int = 3) -> dict[str, Any]:
    """The map of a drawn slide by LPD in eight views; seconds are of one tile.

    Ours reads, blends and writes all outputs of `histoproto predict`; the plain way takes the same tiles from memory,
    one view after the other, and keeps their strongest classes. Compiled: the warm-up compiles.
    """
    work = Work("lpd", "corrected")
    model = work.model().to(device).eval()
    settings = InferenceSettings(views="d4", precision="bf16", tile_px=512)
    side_px = settings.tile_px + (tiles - 1) * (settings.tile_px - settings.overlap_px)
    trained = SimpleNamespace(model=model, taxonomy=BCSS_WSSS, settings=SimpleNamespace(inference=settings))
    gate = Gate((0.0,) * len(BCSS_WSSS), work.side_px)
    if compiled:
        compile_maps(model)

    def ours() -> None:
        reader = at_mpp(source, SLIDE_MPP)
        with tempfile.TemporaryDirectory() as out:
            predict_slide(trained, gate, source, reader, None, Path(out))

    def plain() -> None:
        for tile in tile_grid(side_px, side_px, settings.tile_px, settings.overlap_px, COARSEST_STRIDE_PX):
            rgb = source.read_page(0, Region(tile.x_px, tile.y_px, tile.width_px, tile.height_px))
            image = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float().div(255).to(device)
            views = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
            with torch.no_grad():
                sum(_upright(model, image, *view) for view in views).argmax(1)

    with tempfile.TemporaryDirectory() as folder:
        source = open_image(drawn_slide(Path(folder), side_px, SLIDE_MPP))
        if way == "plain":
            plainly(model)
            measured = measure(plain, device, warmups=0, repeats=1)
        else:
            measured = measure(ours, device, warmups=1, repeats=1)
        source.close()
    return _per(as_dict(measured), tiles**2)


def _upright(model: TissueModel, image: Tensor, turns: int, mirrored: bool) -> Tensor:
    """Return one view's maps, turned back and at the image's resolution."""
    turned = image.rot90(turns, (2, 3))
    maps = model.class_maps(turned.flip(3) if mirrored else turned).maps
    fine = interpolate(maps, size=turned.shape[2:], mode="bilinear", align_corners=False)
    return (fine.flip(3) if mirrored else fine).rot90(-turns, (2, 3))


def bank(device: torch.device, *, way: str, patches: int = 24, repeats: int = 2) -> dict[str, Any]:
    """Features of stored patches by the frozen encoder, as an image bank needs them; seconds are of one patch."""
    encoder = image_encoder(CARDS["medclip"], "none")[0].to(device).eval()
    with tempfile.TemporaryDirectory() as folder:
        files = _stored(Path(folder), patches)

        def plain() -> None:
            with torch.no_grad():
                for file in files:
                    image = torch.from_numpy(read_rgb(file).transpose(2, 0, 1).copy()).float().div(255)
                    encoder(image[None].to(device))

        def ours() -> None:
            encode_patches(encoder, files, device, lambda _count: None)

        measured = measure(plain if way == "plain" else ours, device, warmups=1, repeats=repeats)
    return _per(as_dict(measured), patches)


def loading(device: torch.device, *, patches: int = 64, repeats: int = 3) -> dict[str, Any]:
    """Decode stored patches; seconds are of one patch."""
    with tempfile.TemporaryDirectory() as folder:
        files = _stored(Path(folder), patches)
        measured = measure(lambda: [read_rgb(file) for file in files], device, warmups=1, repeats=repeats)
    return _per(as_dict(measured), patches)


def ceilings(device: torch.device) -> dict[str, Any]:
    """What the machine can do: matrix products in TFLOP/s, copying in GiB/s."""
    side, found = (1536 if device.type == "cpu" else 8192), {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(side, side, device=device, dtype=kind), torch.randn(side, side, device=device, dtype=kind)
        best = measure(lambda a=a, b=b: a @ b, device, warmups=3, repeats=9).spread[0]
        found[name] = 2 * side**3 / best / 1e12
    block = torch.zeros(2**27, dtype=torch.uint8, device=device)
    best = measure(block.clone, device, warmups=2, repeats=9).spread[0]
    return {"tflop_per_s": found, "gib_per_s": 2 * block.numel() / best / 2**30}


def _stored(folder: Path, patches: int) -> list[Path]:
    """Return drawn patches, stored as PNG and enlarged to 224 px."""
    write_patches(folder, train=patches, val=1, test=1, size_px=112)
    files = sorted((folder / "training").rglob("*.png"))[:patches]
    for file in files:
        Image.fromarray(read_rgb(file)).resize((224, 224)).save(file)
    return files


def _per(measured: dict[str, Any], items: int) -> dict[str, Any]:
    """Return time, operations and traffic of one item."""
    for name in ("seconds", "tflop", "traffic_gib"):
        measured[name] /= items
    measured["spread"] = [one / items for one in measured["spread"]]
    return measured


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "step": step,
    "evaluation": evaluation,
    "refinement": refinement,
    "slide": slide,
    "bank": bank,
    "loading": loading,
    "ceilings": ceilings,
}


def measured_case(case: str, device: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measure a case by its name."""
    if options.get("way") != "plain":
        keep_freed_memory()  # as every command does
    return CASES[case](torch.device(device), **options)
