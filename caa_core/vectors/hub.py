"""Steering vectors on the Hugging Face hub, for a person who runs the app alone and is logged in there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from caa_core.data.text import clean, file_name
from caa_core.errors import InputError
from caa_core.limits import is_public
from caa_core.vectors.formats import FORMATS, read_vector
from caa_core.vectors.vector import MAX_BYTES, SteeringVector

TIMEOUT = 30.0


def available() -> bool:
    """True where this app may use the hub: not a public one, and a token is there."""
    return not is_public() and get_token() is not None


def push_vector(vector: SteeringVector, repo_id: str) -> str:
    """Upload a vector as `<name>.safetensors` to a model repository, made if need be, and return the file's address.

    Raises:
        InputError: `available` is False, the id is none, or the hub says no or nothing.
    """
    repo_id = _checked(repo_id)
    name = f"{file_name(vector.name)}.safetensors"
    with tempfile.TemporaryDirectory() as folder, _hub_errors(repo_id):
        vector.save(Path(folder) / name)
        repo = HfApi().create_repo(repo_id, exist_ok=True)
        HfApi().upload_file(path_or_fileobj=Path(folder) / name, path_in_repo=name, repo_id=repo.repo_id)
        return f"{repo.url}/blob/main/{name}"


def pull_vector(repo_id: str, filename: str | None = None) -> SteeringVector:
    """Download a vector from a model repository; without a file name, the only vector that is there.

    Raises:
        InputError: `available` is False, the id is none, there is no such file or several, it is too large or no
            steering vector, or the hub says no or nothing.
    """
    repo_id = _checked(repo_id)
    with _hub_errors(repo_id):
        info = HfApi().model_info(repo_id, files_metadata=True, timeout=TIMEOUT)
        sizes = {file.rfilename: file.size for file in info.siblings or ()}
        filename = _choose(sizes, repo_id, filename)
        size = sizes[filename]
        if size is None or size > MAX_BYTES:
            raise InputError(f"{clean(filename)} is larger than {MAX_BYTES / 1e6:.0f} MB, which no steering vector is.")
        path = hf_hub_download(repo_id, filename, revision=info.sha)
    return read_vector(Path(path))


def _checked(repo_id: str) -> str:
    if is_public():
        raise InputError("This app is open to strangers and does not use the hub.")
    if get_token() is None:
        raise InputError("You are not logged in at the Hugging Face hub: run 'hf auth login', or set HF_TOKEN.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id[:100]!r} is not the id of a repository: give owner/name.") from error
    return repo_id


def _choose(names: dict[str, int | None], repo_id: str, filename: str | None) -> str:
    if filename is not None:
        if filename not in names:
            raise InputError(f"{repo_id} holds no file {filename[:100]!r}.")
        return filename
    vectors = sorted(name for name in names if Path(name).suffix in FORMATS.values())
    if not vectors:
        raise InputError(f"{repo_id} holds no vector file ({', '.join(FORMATS.values())}).")
    if len(vectors) > 1:
        raise InputError(f"{repo_id} holds several vectors, name one: {', '.join(map(clean, vectors[:10]))}.")
    return vectors[0]


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """The hub's client raises errors of many libraries; the person gets one sentence of ours, never their text."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(_reason(error, repo_id)) from error


def _reason(error: Exception, repo_id: str) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    match error:
        case OfflineModeIsEnabled():
            return "The hub is not asked while HF_HUB_OFFLINE is set."
        case GatedRepoError():
            return f"{repo_id} is gated: ask for access on its page at the hub first."
        case RepositoryNotFoundError():
            return f"The hub has no model repository {repo_id}, or your token may not see it."
        case HfHubHTTPError() if status in (401, 403):
            return f"Your token may not do this with {repo_id}: it must be valid, and may write where you push."
        case EntryNotFoundError() if status:
            return f"The file is not in {repo_id} any more."
        case HfHubHTTPError():
            return f"The hub answered with an error ({status}); try again later."
    return f"The hub cannot be reached, or did not answer as it should ({type(error).__name__}); try again later."
