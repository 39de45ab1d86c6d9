"""The one place that holds class order, names, colours and the ignore value."""

from dataclasses import asdict, dataclass
from typing import Any

from histoproto.errors import ConfigError, LabelError

IGNORE = 255
"""Mask value of a pixel that nobody knows or that does not count."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Taxonomy:
    """Tissue classes in the order of their label digits and mask values.

    Mask values are ``0 .. len(classes) - 1`` for the classes, ``background`` (= ``len(classes)``) for
    white background, and ``IGNORE`` (255) for pixels that do not count.
    """

    name: str
    """Short name of the data set or study, for example ``bcss-wsss``."""
    classes: tuple[str, ...]
    """Short class names in label order, for example ``("TUM", "STR", "LYM", "NEC")``."""
    titles: tuple[str, ...]
    """The same classes in words, for people."""
    colours: tuple[Colour, ...]
    """RGB colour of each class, 0..255."""
    background_colour: Colour = (255, 255, 255)
    """RGB colour of white background."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError(f"taxonomy {self.name}: no classes; name at least one")
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"taxonomy {self.name}: a class name occurs twice in {', '.join(self.classes)}")
        if not len(self.classes) == len(self.titles) == len(self.colours):
            raise ConfigError(f"taxonomy {self.name}: classes, titles and colours differ in number")
        if len(self.classes) >= IGNORE:
            raise ConfigError(f"taxonomy {self.name}: at most {IGNORE - 1} classes fit into an 8-bit mask")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def background(self) -> int:
        """Mask value of white background."""
        return len(self.classes)

    @property
    def palette(self) -> list[int]:
        """768 palette bytes for an indexed PNG: classes, background, black elsewhere."""
        flat = [channel for colour in (*self.colours, self.background_colour) for channel in colour]
        return flat + [0] * (768 - len(flat))

    def index(self, name: str) -> int:
        """Return the index of a class by its short name or title, ignoring case.

        Raises:
            LabelError: if there is no such class.
        """
        for names in (self.classes, self.titles):
            lowered = [known.lower() for known in names]
            if name.lower() in lowered:
                return lowered.index(name.lower())
        raise LabelError(f"unknown class {name!r}; {self.name} has {', '.join(self.classes)}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and strings for JSON and YAML."""
        plain = asdict(self)
        return {key: [*map(_plain, value)] if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Taxonomy":
        """Read what ``to_dict`` wrote.

        Raises:
            ConfigError: if a key is missing or the values do not fit together.
        """
        try:
            return cls(
                name=str(plain["name"]),
                classes=tuple(plain["classes"]),
                titles=tuple(plain["titles"]),
                colours=tuple(_colour(entry) for entry in plain["colours"]),
                background_colour=_colour(plain["background_colour"]),
            )
        except KeyError as missing:
            raise ConfigError(f"taxonomy has no entry {missing}; it needs name, classes, titles, colours") from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _colour(entry: Any) -> Colour:
    red, green, blue = (int(channel) for channel in entry)
    return red, green, blue


BCSS_WSSS = Taxonomy(
    "bcss-wsss",
    ("TUM", "STR", "LYM", "NEC"),
    ("Tumour", "Stroma", "Lymphocytic infiltrate", "Necrosis"),
    ((255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 0, 255)),
)
LUAD_HISTOSEG = Taxonomy(
    "luad-histoseg",
    ("TE", "NEC", "LYM", "TAS"),
    ("Tumour epithelium", "Necrosis", "Lymphocytes", "Tumour-associated stroma"),
    ((205, 51, 51), (0, 255, 0), (65, 105, 225), (255, 165, 0)),
)
WSSS4LUAD = Taxonomy(
    "wsss4luad",
    ("tumour", "stroma", "normal"),
    ("Tumour epithelium", "Tumour-associated stroma", "Normal tissue"),
    ((0, 64, 128), (64, 128, 0), (243, 152, 0)),
)
TAXONOMIES = {taxonomy.name: taxonomy for taxonomy in (BCSS_WSSS, LUAD_HISTOSEG, WSSS4LUAD)}
