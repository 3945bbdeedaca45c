"""What goes wrong with an NDIF host, in one sentence that says what to do."""

from collections.abc import Iterator

from caa_core.errors import InputError

OFFER = "Or run it on this machine, with a smaller model."
MOST_SAID = 300


class HostError(InputError):
    """The host cannot do what was asked of it; on this machine it can be done with a smaller model."""

    def __init__(self, said: str):
        super().__init__(f"{said} {OFFER}")


class JobError(HostError):
    """What ran at the host failed there, and not the host."""


class LostError(HostError):
    """The host lost a job that it had taken, with a machine of its own: sent again, it may run on another one."""


# What a host says of a job that it has lost, in small letters; one that somebody has ended there is none.
LOST = ("error submitting request", "replica was evicted", "critical server error")

# What a host's own text holds, in small letters, and what that means.
SAID = (
    (LOST, "lost the job each time that it was sent: try again later."),
    (("api key", "api_key", "401", "403"), "does not take the key: give the one that you got (Key, or CAA_NDIF_KEY)."),
    (("reconnecting", "temporarily unavailable"), "has lost its machines for a moment: try again in a minute."),
    (("could not deploy",), "cannot deploy this model: {reason}"),
    (("doesn't match", "does not match", "payload could not be read"), "has other package versions: {reason}"),
    (("below the minimum", "version was not provided"), "takes newer clients only: {reason}"),
    (("execution timeout",), "ended the job at its time limit: ask for fewer tokens, items or layers at once."),
    (("cancelled", "preempted"), "gave the job up: try again."),
    (("out of memory",), "ran out of memory: ask for fewer or shorter rows at once."),
    (("too large", "413"), "does not take a job of that size: ask for fewer layers or vectors at once."),
)


def is_lost(error: BaseException) -> bool:
    """Whether the host says that it has lost a job."""
    return any(words in str(error).lower() for words in LOST)


def sentence(error: BaseException, host: str) -> str:
    """What an error of a job means; host: its name."""
    causes = [*_causes(error)]
    names = {type(cause).__name__ for cause in causes}
    if isinstance(error, InputError):
        return str(error)
    if "RemoteError" in names:
        return _refused(str(error), host)
    if names & {"RepositoryNotFoundError", "GatedRepoError"}:
        return "The hub has no model of that name that you may read, and an NDIF host runs models of the hub."
    if names & {"WebSocketConnectionClosedException", "ConnectionResetError", "BrokenPipeError", "ReadError"}:
        return f"The NDIF host {host} went away in the middle of a job: what came before is kept. Try again."
    if names & {"WebSocketTimeoutException", "TimeoutError", "ReadTimeout", "ConnectTimeout", "WriteTimeout"}:
        return f"The NDIF host {host} does not answer: it may be overloaded, so try again later."
    if any("reconnecting" in str(cause) for cause in causes):
        return f"The NDIF host {host} has lost its machines for a moment: try again in a minute."
    if names & {"ConnectionRefusedError", "ConnectError", "gaierror", "WebSocketAddressException", "OSError"}:
        return f"The NDIF host {host} cannot be reached: is its address right, and is it running?"
    if any(name.startswith(("WebSocket", "RemoteProtocol", "UnpicklingError")) for name in names):
        return f"What answers at {host} is no NDIF host: check the address."
    return f"The job at {host} failed here: {_short(f'{type(error).__name__}: {error}')}"


def _refused(text: str, host: str) -> str:
    """Of what the host itself says."""
    small = text.lower()
    if any(name in small for name in ("connection refused", "all connection attempts failed", "errno")):
        return f"The NDIF host {host} cannot be reached: is its address right, and is it running?"
    if "timed out" in small and "execution" not in small:
        return f"The NDIF host {host} does not answer: it may be overloaded, so try again later."
    for words, meaning in SAID:
        if any(word in small for word in words):
            return f"The NDIF host {host} {meaning.format(reason=_short(text))}"
    return (
        f"The job failed at {host}: {_short(text.strip().splitlines()[-1] if text.strip() else 'it did not say why')}"
    )


def _short(text: str) -> str:
    """The first line or two, on one."""
    said = " ".join(text.replace("Failed to send request:", "").split())[:MOST_SAID]
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
