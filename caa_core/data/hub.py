"""Datasets of the Hugging Face hub as tables, by the `datasets` library."""

import hashlib
import json
import re
from typing import Any

from caa_core.data.tables import Table
from caa_core.errors import InputError
from caa_core.limits import FILE_MB, is_public

MAX_ROWS = 20_000
# The hub is asked once whether it knows a dataset, so that nobody waits for all the retries of a download.
SECONDS = 10


def find_hub_dataset(data: str) -> Table | None:
    """The dataset of "hub:owner/name", "hub:owner/name:config", or either with "@split"; None for other words."""
    named = re.fullmatch(r"hub:([^:@]*)(?::([^@]*))?(?:@(.*))?", data, re.DOTALL)
    if not named:
        return None
    repo_id, config, split = named.groups()
    return read_hub_dataset(repo_id.strip(), config or None, split or "train")


def read_hub_dataset(repo_id: str, config: str | None = None, split: str = "train") -> Table:
    """The columns of texts, and of lists of them, of a dataset's first `MAX_ROWS` rows. No code of the dataset is run.

    Raises:
        InputError: on a public app; the hub or the dataset cannot be reached; it has other configurations or splits.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    if is_public():
        raise InputError("This app fetches nothing that is typed; upload the data as a file.")
    shown = f"The dataset {repo_id[:100]!r}"
    try:
        validate_repo_id(repo_id)
        revision = HfApi().dataset_info(repo_id, timeout=SECONDS).sha
    except HFValidationError as error:
        raise InputError(f"{repo_id[:100]!r} is no id of a dataset; give one such as owner/name.") from error
    except GatedRepoError as error:
        raise InputError(f"{shown} is gated: accept its terms on the hub, and log in with 'hf auth login'.") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{shown} is not on the hub, or is private; 'hf auth login' opens your own.") from error
    except Exception as error:  # what the network raises is of many kinds
        raise InputError(f"{shown} cannot be read: the hub cannot be reached ({type(error).__name__}).") from error
    return hub_table(repo_id, repo_id, config, split, revision)


def hub_table(location: str, name: str, config: str | None, split: str, revision: str | None = None) -> Table:
    """The rows of a dataset at a hub id, or in a folder. Raises InputError as `read_hub_dataset` does."""
    import datasets

    try:
        loaded = datasets.load_dataset(location, config, split=split, streaming=True, revision=revision)
        records, format = _first_rows(loaded)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise InputError(f"The dataset '{name}' is gated or not on the hub; 'hf auth login' opens your own.") from error
    except Exception as error:  # whatever the libraries behind a file's format raise
        raise InputError(f"The dataset '{name}' cannot be read: {_reason(error)}.") from error
    if not records:
        raise InputError(f"The dataset '{name}' has no rows with text.")
    described = f"{name}{f':{config}' if config else ''}@{split}"
    canonical = json.dumps(records, sort_keys=True, default=str).encode()
    return Table.of(described, format, hashlib.sha256(canonical).hexdigest(), list(enumerate(records, 1)))


def _first_rows(rows: Any) -> tuple[list[dict[str, Any]], str]:
    """Columns of texts, and of lists of them, of as many rows as are taken, and what they are in words."""
    records: list[dict[str, Any]] = []
    size = 0
    for row in rows.decode(False) if rows.features else rows:
        row = {column: value for column, value in row.items() if _has_text(value)}
        size += sum(len(value if isinstance(value, str) else json.dumps(value, default=str)) for value in row.values())
        if len(records) == MAX_ROWS or size > FILE_MB.value * 1e6:
            return records, f"dataset of the hub, its first {len(records):,} rows,"
        records.append(row)
    return records, "dataset of the hub"


def _has_text(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_text, value.values()))
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def _reason(error: Exception) -> str:
    """What a library says about a configuration or split that it lacks; the kind of error for everything else."""
    wrong_name = isinstance(error, ValueError) and re.search(r"[Aa]vailable[^:]*: \[[^\]]*\]", str(error))
    return f"choose one of the {wrong_name[0][:300].lower()}" if wrong_name else type(error).__name__
