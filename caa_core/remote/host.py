"""An NDIF host: its address and key, whether it is there, and what runs on it. Nothing here needs torch.

The key goes to this address and nowhere else: it is in no message, log, result or link, and no plain http carries it to
another machine.
"""

import contextlib
import ipaddress
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx2

from caa_core.errors import InputError
from caa_core.limits import is_public
from caa_core.progress import begin
from caa_core.remote.sentences import HostError, sentence

# An answer that takes longer is none; and all that is asked before the first job takes no longer than the second.
SECONDS_TO_ANSWER, SECONDS_TO_CHECK = 3.0, 8.0
MOST_BYTES = 5_000_000
MOST_KEY = 200
# Of which another minor, and another major version means another module tree or another form of jobs.
ALIKE = {"nnsight": 2, "transformers": 1}
# By importance: what a replica of a model is doing.
STATES = ("RUNNING", "DEPLOYING", "NOT_STARTED", "UNHEALTHY")


@dataclass(frozen=True)
class Host:
    """Where jobs go. address: such as https://api.ndif.us; key: empty where the host asks for none."""

    address: str
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raises InputError for an address that is none, or that a key cannot be sent to safely."""
        parts = _parts(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InputError(
                "Give the address of the NDIF host with its http:// or https://, such as https://api.ndif.us."
            )
        if len(self.key) > MOST_KEY or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise InputError("The key of the NDIF host has characters in it that no key has.")
        if self.key and parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError("The key would go to the NDIF host unencrypted: give its https:// address.")

    @classmethod
    def of(cls, address: str = "", key: str = "") -> "Host":
        """What was given, else CAA_NDIF_HOST and CAA_NDIF_KEY, else nnsight's NDIF_HOST and NDIF_API_KEY. A key that
        stands there beside an address goes to no other one that somebody gives.

        Raises:
            InputError: there is no address, or it is none; or a stranger of a public app gives one.
        """
        known = os.environ.get("CAA_NDIF_HOST") or os.environ.get("NDIF_HOST") or ""
        if is_public() and address.strip() not in ("", known):
            raise InputError("This app is open to strangers: its owner alone chooses where models run.")
        found = address.strip() or known.strip()
        if not found:
            raise InputError("No NDIF host is known: give its address, or set CAA_NDIF_HOST (and CAA_NDIF_KEY).")
        kept = os.environ.get("CAA_NDIF_KEY") or os.environ.get("NDIF_API_KEY") or ""
        if known and found.rstrip("/") != known.strip().rstrip("/"):
            kept = ""
        return cls(found.rstrip("/"), key.strip() or kept.strip())

    @property
    def name(self) -> str:
        """Host and port, by which it is spoken of."""
        return str(_parts(self.address).netloc)

    def sentence(self, error: BaseException) -> str:
        """What an error means and what to do, without the key."""
        said = sentence(error, self.name)
        return said.replace(self.key, "…") if self.key else said

    def get(self, path: str, seconds: float = SECONDS_TO_ANSWER) -> Any:
        """What the host says at a path, of JSON. Raises HostError."""
        said = self._read(path, seconds)
        try:
            return json.loads(said)
        except ValueError:  # among them what is no text
            raise HostError(f"What answers at {self.name} is no NDIF host: check the address.") from None

    def _read(self, path: str, seconds: float) -> bytes:
        end, read = time.monotonic() + seconds, b""
        headers = {"ndif-api-key": self.key} if self.key else {}
        local = is_loopback(_parts(self.address).hostname or "")
        # Nothing of what went wrong is chained: it may hold the request, and with it the key.
        try:
            client = httpx2.Client(timeout=seconds, follow_redirects=False, trust_env=not local)
            with client, client.stream("GET", f"{self.address}{path}", headers=headers) as reply:
                for part in reply.iter_bytes():
                    read += part
                    if len(read) > MOST_BYTES or time.monotonic() > end:
                        raise HostError(f"The NDIF host {self.name} answers too slowly, or says too much.")
                status = reply.status_code
        except httpx2.HTTPError as error:
            raise HostError(self.sentence(error)) from None
        if status >= 500:
            raise HostError(self.sentence(ConnectionError("reconnecting")))
        if status != 200:
            raise HostError(f"What answers at {self.name} is no NDIF host: check the address.")
        return read

    def check(self, repo_id: str) -> "Deployed":
        """Whether it is there, which versions it has, and whether it runs a model; within `SECONDS_TO_CHECK`.

        Raises:
            HostError: it is not there, is no NDIF host, or its versions differ too much.
        """
        try:
            return begin(lambda: self._check(repo_id)).result(SECONDS_TO_CHECK)
        except NotInTime:
            raise HostError(self.sentence(TimeoutError())) from None

    def _check(self, repo_id: str) -> "Deployed":
        if self.get("/ping") != "pong":
            raise HostError(f"What answers at {self.name} is no NDIF host: check the address.")
        self.get("/connected")
        # Both at once, as a host that was not asked for a while takes long for each.
        asked = begin(lambda: self.get("/env"))
        status = self.get("/status", SECONDS_TO_CHECK)
        environment: Any = {}
        with contextlib.suppress(HostError):  # some take too long; a job says it where versions matter
            environment = asked.result()
        check_versions(self.name, _mapping(_mapping(environment).get("packages")))
        return deployed(_mapping(_mapping(status).get("deployments")), repo_id)


@dataclass(frozen=True)
class Deployed:
    """A model at a host. model_key: by which jobs name it; empty where the host has not deployed it, which its first
    job does.
    """

    model_key: str = ""
    state: str = ""

    @property
    def running(self) -> bool:
        return self.state == "RUNNING"


def deployed(deployments: Mapping[str, Any], repo_id: str) -> Deployed:
    """The model of that name among a host's deployments, by its healthiest replica that writes text."""
    there = [
        Deployed(str(one["model_key"]), str(one.get("application_state")))
        for one in map(_mapping, deployments.values())
        if str(one.get("repo_id", "")).lower() == repo_id.lower()
        and one.get("task") in (None, "text-generation")
        and one.get("model_key")
    ]
    known = [one for one in there if one.state in STATES]
    return min(known, key=lambda one: STATES.index(one.state), default=Deployed())


def check_versions(name: str, packages: Mapping[str, Any]) -> None:
    """Raises HostError where what the host has differs too much from what is here."""
    for package, parts in ALIKE.items():
        here, there = version(package), str(packages.get(package) or "")
        if there and there.split(".")[:parts] != here.split(".")[:parts]:
            raise HostError(
                f"The NDIF host {name} has {package} {there}, and {here} is installed here, so jobs would fail: "
                f"install {package}=={there}, or ask the host's owner."
            )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(address: str) -> Any:
    try:
        parts = urlsplit(address.strip())
        parts.port  # noqa: B018 - raises for what is no port
        return parts
    except ValueError:
        return urlsplit("")


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
