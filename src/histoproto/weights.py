"""The one place where pretrained tensors are found, read and put into a network.

A source is ``none`` (random weights), a ``.pth``, ``.bin`` or ``.safetensors`` file, a folder in the hub's
format, or ``hf:organisation/name@revision``. Loading is all or nothing: every tensor of the network must be
in the file with its shape, and every tensor of the file must have a place, except under prefixes that the
caller names (a classification head, say).
"""

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from histoproto.contracts import LoadedWeights
from histoproto.errors import WeightsError

HUB_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model_vision.bin")
"""Names under which a hub folder keeps its tensors, in order of preference."""

Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""From a checkpoint's names to the network's."""


def initialise(
    network: nn.Module,
    source: str | None,
    *,
    rename: Rename = dict,
    ignore: Sequence[str] = (),
    licence: str | None = None,
) -> LoadedWeights:
    """Fill a network from a source; leave its random weights where the source is None or ``none``.

    Args:
        network: the network to fill in place.
        source: see the module's docstring.
        rename: turns the checkpoint's names into the network's; heads may be dropped here.
        ignore: prefixes of checkpoint names that the network has no use for.
        licence: licence note of the weights, for ``run.json``.

    Returns:
        Where the tensors came from, the file's sha256 and how many tensors were loaded.

    Raises:
        WeightsError: if the source cannot be found or read, or does not fit the network.
    """
    if source is None or source == "none":
        return LoadedWeights("none")
    tensors, found = read_weights(source)
    return replace(found, tensors=fill(network, rename(tensors), source, ignore), licence=licence)


def read_weights(source: str) -> tuple[dict[str, Tensor], LoadedWeights]:
    """Return the tensors of a file, folder or hub repository by name, on the CPU, and their provenance.

    Raises:
        WeightsError: if the source is missing, gated, out of reach, truncated or no table of tensors.
    """
    path = _download(source) if source.startswith("hf:") else _local(Path(source).expanduser())
    tensors = _read(path)
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return tensors, LoadedWeights(source, sha256=digest, tensors=len(tensors))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str, ignore: Sequence[str] = ()) -> int:
    """Put tensors into a network, cast to its data type, and prove that nothing was left out.

    Args:
        network: the network to fill in place.
        tensors: tensors under the network's names.
        source: where they came from, for error messages.
        ignore: prefixes of names that the network has no use for.

    Returns:
        The number of tensors of the network that were filled.

    Raises:
        WeightsError: if a tensor is missing, has another shape, or has no place in the network.
    """
    own = network.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(ignore))}
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # old files lack them
    problems = [
        _some("lacks", sorted(own.keys() - given.keys() - counters), len(own)),
        _some("has no place for", sorted(given.keys() - own.keys()), len(given)),
        _some(
            "differs in shape at",
            [
                f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
                for name in own
                if name in given and given[name].shape != own[name].shape
            ],
            len(own),
        ),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise WeightsError(
            f"{source} does not fit this network: it {', and it '.join(found)}; "
            "give the weights of the same architecture"
        )
    network.load_state_dict(own | given)
    return len(given)


def _some(verb: str, names: Sequence[str], total: int) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
    return f"{verb} {len(names)} of {total} tensors ({shown})"


def _local(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(
            f"{path}: no such weights file or folder; give a path, hf:organisation/name@revision or none"
        )
    for name in HUB_FILES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"{path} holds neither {' nor '.join(HUB_FILES)}; name the weights file itself")


def _download(source: str) -> Path:
    repository, _, revision = source.removeprefix("hf:").partition("@")
    failure: Exception | None = None
    for name in HUB_FILES:
        unreachable = isinstance(failure, LocalEntryNotFoundError)
        try:
            return Path(hf_hub_download(repository, name, revision=revision or None, local_files_only=unreachable))
        except (HfHubHTTPError, EntryNotFoundError, HFValidationError, OSError) as error:
            failure = error
            if not isinstance(error, EntryNotFoundError):
                break  # the other file would fail in the same way
    raise WeightsError(f"{source} {explain_failure(failure, repository, revision)}") from None


def explain_failure(failure: Exception | None, repository: str, revision: str) -> str:
    """Return what a failed look into the hub means and what to do, to follow the address in a sentence."""
    page = f"https://huggingface.co/{repository}"
    match failure:
        case HFValidationError():
            return "is no hub address; write hf:organisation/name@revision"
        case GatedRepoError():
            return f"is gated: accept its terms at {page}, then run: hf auth login"
        case RepositoryNotFoundError():
            return f"is not on the hub, or private: check the name at {page}, or run: hf auth login"
        case RevisionNotFoundError():
            return f"has no revision {revision!r}; see {page}/commits/main"
        case LocalEntryNotFoundError():
            at = f" --revision {revision}" if revision else ""
            return (
                "is not in the cache and the hub cannot be reached; "
                f"on a machine with network run: hf download {repository}{at}"
            )
        case EntryNotFoundError():
            return f"holds neither {' nor '.join(HUB_FILES)}; see {page}/tree/main and give a file"
        case _:
            return f"could not be downloaded ({type(failure).__name__}); try again, or get it from {page}"


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} holds more than tensors, or is no weights file; save its state dict as .safetensors"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is truncated or no weights file ({type(error).__name__}); download it again"
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(wrapper), dict):
            held = held[wrapper]
    if not isinstance(held, dict) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise WeightsError(f"{path} holds no table of named tensors; save the network's state dict")
    return dict(held)
