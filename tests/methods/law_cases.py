"""What the common laws need to know of each method, and tiny parts to build it from."""

from dataclasses import dataclass, field, replace

import torch

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.moving_average import MovingAverage
from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import Parts, Prototypes
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.normalise import Normalise
from histoproto.presets.registry import METHODS
from histoproto.prototypes.grouping import counts_per_class

WIDTHS = (8, 12, 16, 24)
DIM = WIDTHS[-1]
"""Length of prototypes and of the encoder's vector; the released LPD needs that of the last level."""
CLASSES = 3


@dataclass(frozen=True)
class MethodFacts:
    """One line of the table."""

    terms: dict[str, dict[str, float]]
    """Each term that a preset may declare, and the settings that give it the weight one."""
    silent: dict[str, float] = field(default_factory=dict)
    """Settings under which ``classification`` counts alone, with the weight one."""
    tiny: dict[str, object] = field(default_factory=lambda: {"prototypes_per_class": 2, "warmup_steps": 0})
    """Settings that make use of tiny parts, without chance and without warm-up."""
    dead: dict[str, set[str]] = field(default_factory=dict)
    """Terms that a preset reproduces although they move nothing that the class maps depend on."""
    seed: int = 0
    """Of random weights: a draw under which the released ReLU leaves something of the class maps."""
    before: tuple[str, ...] = ()
    """Command that makes what training starts from; ``{study}`` and ``{folder}`` are filled in."""
    train: tuple[str, ...] = ()
    """Further arguments of ``histoproto train``."""


ONE_PER_CLASS = {"prototypes_per_class": 1, "warmup_steps": 0}
SEVERAL = {"prototypes_per_class": 2, "warmup_steps": 0, "max_pairs": None}

FACTS: dict[str, MethodFacts] = {
    "cam": MethodFacts(terms={"classification": {}}, tiny=ONE_PER_CLASS),
    "gradcam": MethodFacts(terms={"classification": {}}, tiny=ONE_PER_CLASS),
    "lpd": MethodFacts(
        terms={
            "classification": {},
            "similarity": {"similarity_weight": 1.0},
            "diversity": {"diversity_weight": 1.0},
        },
        silent={"similarity_weight": 0.0, "diversity_weight": 0.0},
        tiny=SEVERAL,
        dead={"released": {"diversity"}},
    ),
    "construct": MethodFacts(
        terms={
            "classification": {},
            "structure": {"structure_weight": 1.0},
            "similarity": {"similarity_weight": 1.0},
        },
        silent={"structure_weight": 0.0, "similarity_weight": 0.0},
        tiny=SEVERAL,
        dead={"released": {"structure", "similarity"}},
        seed=1,
    ),
    "pbip": MethodFacts(
        terms={
            "classification": {},
            "foreground": {"foreground_weight": 1.0},
            "background": {"background_weight": 1.0},
            "area": {"area_weight": 1.0},
        },
        silent={
            "classification_weight": 1.0,
            "similarity_weight": 1.0,
            "foreground_weight": 0.0,
            "background_weight": 0.0,
            "area_weight": 0.0,
        },
        tiny=SEVERAL,
        before=("bank", "{study}", "--out", "{folder}/bank", "--encoder", "random", "--per-class", "1"),
        train=("--bank", "{folder}/bank"),
    ),
}


@dataclass(frozen=True)
class Case:
    """A method under a preset, with tiny parts."""

    name: str
    preset: str

    def __str__(self):
        return f"{self.name}-{self.preset}"

    @property
    def facts(self):
        return FACTS[self.name]

    @property
    def dead(self):
        return self.facts.dead.get(self.preset, set())

    def settings(self, **model):
        """The preset with tiny settings; ``model`` changes the method's own."""
        chosen = METHODS[self.name].presets[self.preset]
        return replace(chosen, model=replace(chosen.model, **{**self.facts.tiny, **model}))

    def build(self, settings=None, draw=0):
        """Return the method and the parts that it was made from."""
        settings = settings or self.settings()
        parts = tiny_parts(settings, self.facts.seed + draw)
        return METHODS[self.name].build(parts, settings), parts


def tiny_parts(settings, seed):
    """The parts that the settings ask for; networks that would be downloaded are random ones."""
    torch.manual_seed(seed)
    chosen = settings.backbone
    statistics = {} if chosen.mean is None else {"mean": chosen.mean, "std": chosen.std}
    backbone = SmallConv(WIDTHS, Normalise(**statistics, order=chosen.order))
    encoders = {"none": lambda: None, "self": lambda: SelfEncoder(backbone)}
    encoder = encoders.get(settings.encoder.name, lambda: RandomEncoder(DIM))()
    teacher = None
    if settings.teacher is not None:
        moving = settings.teacher.name == "self"
        teacher = MovingAverage(backbone) if moving else FrozenPyramid(SmallConv(WIDTHS), pretrained=False)
    counts = counts_per_class(settings.model.prototypes_per_class, CLASSES)
    return Parts(
        FrozenPyramid(backbone, pretrained=False) if chosen.frozen else backbone,
        CLASSES,
        encoder,
        teacher,
        Prototypes(torch.randn(sum(counts), DIM), counts),
    )


def all_cases():
    return [Case(name, preset) for name, entry in METHODS.items() if name in FACTS for preset in entry.presets]


def batch(height=64, width=64):
    """Four images and their labels: every class is there and is missing somewhere."""
    images = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(1))
    return images, torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
