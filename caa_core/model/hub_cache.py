"""The Hugging Face hub, and what its cache on this machine holds."""

import json
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants

from caa_core.model.machine import check_disk
from caa_core.progress import Progress, Say, growing, sizes_below

# An answer that takes longer is none; without this, the hub's client tries again for half a minute, file by file.
SECONDS_TO_ANSWER = 10
# All that transformers loads, and nothing of what else lies beside it (other formats, which can be pickles; copies).
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
UNWANTED = ["*/*", "consolidated*"]
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
CAUSAL = ("ForCausalLM", "LMHeadModel")


def snapshot(hub_id: str, say: Say) -> Path:
    """The folder of a model in the hub's cache, named after its commit; the network is asked where it is not whole.

    Raises:
        Exception: whatever the hub's client raises where it cannot be reached or says no.
        InputError: the disk has no room for it.
    """
    if folder := cached(hub_id):
        return folder
    check_reachable()
    from huggingface_hub import snapshot_download

    bar = _silent_bar()
    files = snapshot_download(hub_id, allow_patterns=WANTED, ignore_patterns=UNWANTED, tqdm_class=bar, dry_run=True)
    size = sum(file.file_size or 0 for file in files if file.will_download)
    store = Path(constants.HF_HUB_CACHE)
    store.mkdir(parents=True, exist_ok=True)
    check_disk(store, size, "HF_HOME")
    say(f"Fetching {hub_id} from the hub ...")
    blobs = store / f"models--{hub_id.replace('/', '--')}" / "blobs"
    progress, before = Progress.of_bytes(size), sum(sizes_below(blobs))
    fetched = growing(
        lambda: snapshot_download(hub_id, allow_patterns=WANTED, ignore_patterns=UNWANTED, tqdm_class=bar),
        lambda: sum(sizes_below(blobs)) - before,
        progress,
        say,
    )
    say(progress.reach(size))
    return Path(fetched)


def download(hub_id: str, name: str, target: Path, size: int, say: Say) -> None:
    """One file of a model. What an interrupted download left is gone on with, which the hub's own cache does not do.

    Raises:
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    check_reachable()
    begun = target.with_name(f"{target.name}.begun")
    if begun.exists() and begun.stat().st_size > size:
        begun.unlink()
    with begun.open("ab") as file:
        there = file.tell()
        progress = Progress.of_bytes(size, there)

        def work() -> None:
            address, headers = hf_hub_url(hub_id, name), build_hf_headers()
            http_get(address, file, resume_size=there, headers=headers, expected_size=size, tqdm_class=_silent_bar())

        try:
            growing(work, lambda: begun.stat().st_size, progress, say)
        finally:
            if not file.tell():
                begun.unlink()
    begun.rename(target)
    say(progress.reach(size))


def check_reachable() -> None:
    """Raise at once what the hub's client would raise after many tries. Any answer will do."""
    from huggingface_hub import get_session

    get_session().head(constants.ENDPOINT, timeout=SECONDS_TO_ANSWER)


def cached(hub_id: str) -> Path | None:
    """The folder of a model whose weights are all in the hub's cache, else None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(hub_id, "config.json")
    except HFValidationError:
        return None
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder and _is_whole(folder) else None


def cached_decoders() -> Iterator[tuple[str, Path]]:
    """Hub id and folder of each decoder in the hub's cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for hub_id in sorted(repo.repo_id for repo in found if repo.repo_type == "model"):
        if (folder := cached(hub_id)) and _is_decoder(folder):
            yield hub_id, folder


def _is_whole(folder: Path) -> bool:
    """Whether a tokenizer is there and the weights are: one file, or all that the index names."""
    if not any((folder / name).exists() for name in TOKENIZERS):
        return False
    if (folder / "model.safetensors").exists():
        return True
    try:
        shards = set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())
        return all((folder / shard).exists() for shard in shards)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _is_decoder(folder: Path) -> bool:
    try:
        kinds = json.loads((folder / "config.json").read_text())["architectures"]
        return any(kind.endswith(CAUSAL) for kind in kinds)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _silent_bar() -> type:
    """The hub draws bars on the terminal unless its class is told not to; what is said here goes to `say`."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: object, **options: object):
            super().__init__(*args, **{**options, "disable": True})

    return Silent
