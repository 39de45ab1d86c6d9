"""What ``histoproto report`` gathers from other runs and from other people's papers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.evaluation.comparison import EvaluatedRun
    from histoproto.published.reader import PublishedFigure
    from histoproto.reports.comparison import Comparison
    from histoproto.reports.published import Published, PublishedRow
    from histoproto.reports.reading import RunContents
    from histoproto.taxonomy import Taxonomy

SAYS_NOTHING = "unknown"


def gather_comparison(run: Path, others: Sequence[Path]) -> "Comparison":
    """Compare a run with others and return what the page shows of it.

    Raises:
        ConfigError: if the run is compared with itself.
        RunError: if a run was not evaluated, or not on the same images.
    """
    from histoproto.evaluation.comparison import arms_of, compare
    from histoproto.evaluation.products import read_evaluated
    from histoproto.reports.comparison import Comparison

    for path in others:
        if path.resolve() == run.resolve():
            raise ConfigError(f"--compare {path}: that is the run itself; name other runs")
    runs = [read_evaluated(path) for path in dict.fromkeys([run, *others])]
    told = compare(runs)
    return Comparison(told, [(arm.name, _with_pictures(arm.runs[0])) for arm in arms_of(runs)])


def gather_published(dataset: str, taxonomy: "Taxonomy") -> "Published":
    """Return the published figures on a data set, one row for each method in each table.

    Raises:
        ConfigError: if nobody has published on it as far as is known here, or it has other classes.
    """
    from histoproto.published.reader import read_published
    from histoproto.reports.published import MEASURES, Published
    from histoproto.taxonomy import TAXONOMIES

    known = dict.fromkeys(figure.dataset for figure in read_published())
    if dataset not in known:
        raise ConfigError(f"--published {dataset}: published figures are known on {', '.join(known)}")
    if dataset in TAXONOMIES and TAXONOMIES[dataset].classes != taxonomy.classes:
        raise ConfigError(
            f"--published {dataset}: it has classes {', '.join(TAXONOMIES[dataset].classes)}, but this run has "
            f"{', '.join(taxonomy.classes)}; leave it out, or name another data set"
        )
    together: dict[tuple[str, ...], list[PublishedFigure]] = {}
    for figure in read_published():
        if figure.dataset == dataset and figure.measure in MEASURES:
            key = (figure.table, figure.method, figure.variant, figure.split, figure.stage)
            together.setdefault(key, []).append(figure)
    return Published(dataset, [_row(figures) for figures in together.values()])


def _row(figures: "Sequence[PublishedFigure]") -> "PublishedRow":
    from histoproto.reports.published import PROTOCOL, Cell, PublishedRow

    first = figures[0]
    protocol = {key: _word(getattr(first, key)) for key in PROTOCOL}
    return PublishedRow(
        method=first.method,
        where=f"{first.table}; {first.venue} {first.year}",
        variant=first.variant,
        stage=_word(first.stage),
        cells={figure.measure: Cell(figure.value, figure.sd, figure.status, figure.note) for figure in figures},
        protocol=protocol,
        from_code=first.protocol_source != SAYS_NOTHING,
    )


def _word(value: object) -> str:
    return SAYS_NOTHING if value is None else str(value)


def _with_pictures(run: "EvaluatedRun") -> "RunContents":
    """Return what a run folder holds, its examples known to be the images of its counts.

    Raises:
        RunError: if ``images.csv`` lists others.
    """
    from histoproto.reports.reading import read_run

    contents = read_run(run.path)
    listed = [example.image.name for example in contents.examples]
    if listed != [image.name for image in run.counts.images]:
        raise RunError(f"{run.path / 'eval' / 'images.csv'} does not list the images of its counts; evaluate it again")
    return contents
