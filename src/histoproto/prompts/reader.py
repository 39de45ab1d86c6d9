"""Prompt files: for each class of a taxonomy, several sentences that say how it looks.

A file is a YAML mapping from a class's short name or title to a list of sentences::

    TUM:
      - an H&E image of tumour cells in nests
      - malignant epithelium with large nuclei
"""

from pathlib import Path
from typing import Any

import yaml

from histoproto.errors import ConfigError, LabelError
from histoproto.taxonomy import Taxonomy

Prompts = tuple[tuple[str, ...], ...]
"""The sentences of each class, in class order."""


def shipped_prompts() -> dict[str, Path]:
    """Return the files that come with the package, by the name of their data set."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yaml"))}


def read_prompts(source: str | None, taxonomy: Taxonomy) -> Prompts:
    """Read the sentences of every class.

    Args:
        source: name of a shipped file or path of another; None for the file shipped for the taxonomy.
        taxonomy: the classes that need sentences.

    Returns:
        At least one sentence per class, in class order.

    Raises:
        ConfigError: if there is no such file, or it leaves a class without sentences, names an unknown class, or
            holds something else than sentences.
    """
    file = _find(source, taxonomy)
    try:
        held = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(held, dict):
        raise ConfigError(f"{file} holds no prompts; write each class with a list of sentences below it")
    sentences = _by_index(held, taxonomy, file)
    missing = [name for index, name in enumerate(taxonomy.classes) if index not in sentences]
    if missing:
        raise ConfigError(
            f"{file}: no sentences for {', '.join(missing)}; {taxonomy.name} has {', '.join(taxonomy.classes)}, "
            "and each needs at least one"
        )
    return tuple(sentences[index] for index in range(len(taxonomy)))


def _find(source: str | None, taxonomy: Taxonomy) -> Path:
    shipped = shipped_prompts()
    if source is None:
        if taxonomy.name not in shipped:
            raise ConfigError(
                f"no prompts are shipped for {taxonomy.name} (there are {', '.join(shipped)}); write a YAML file with "
                "sentences for each class and name it with --prompts"
            )
        return shipped[taxonomy.name]
    file = shipped.get(source, Path(source))
    if not file.is_file():
        raise ConfigError(f"{source}: no such prompt file; give a path, or one of {', '.join(shipped)}")
    return file


def _by_index(held: dict[Any, Any], taxonomy: Taxonomy, file: Path) -> dict[int, tuple[str, ...]]:
    sentences: dict[int, tuple[str, ...]] = {}
    for name, given in held.items():
        try:
            index = taxonomy.index(str(name))
        except LabelError as error:
            raise ConfigError(f"{file}: {error}") from None
        if index in sentences:
            raise ConfigError(f"{file}: {taxonomy.classes[index]} occurs twice, as {name} again; keep one list")
        sentences[index] = _sentences(given, str(name), file)
    return sentences


def _sentences(given: Any, name: str, file: Path) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{file}: {name} needs a list of one or more sentences, not {given!r}")
    for sentence in given:
        if not isinstance(sentence, str) or not sentence.strip():
            raise ConfigError(f"{file}: {name} holds {sentence!r}, which is no sentence; mend or remove it")
    return tuple(" ".join(sentence.split()) for sentence in given)
