"""Ask a running service something, and wait until it answers: by URL, or by a command."""

import shlex
from collections.abc import Callable, Sequence
from time import monotonic, sleep

from partialroot.errors import BootError, UsageError

PATIENCE = 30.0  # seconds
PAUSE = 0.1
ONE_TRY = 10.0  # seconds


def check(probes: Sequence[str]) -> None:
    """Raise UsageError for a probe that is neither a URL nor a command."""
    for probe in probes:
        try:
            words = shlex.split(probe)
        except ValueError as error:
            raise UsageError(f"--probe {probe!r}: {error}") from None
        if not words:
            raise UsageError("--probe is empty", hint="give a URL, or a command in quotes")


def ask(probes: Sequence[str], alive: Callable[[], str], patience: float = PATIENCE) -> None:
    """Let each probe succeed once, in this order; each may take ``patience`` seconds.

    A URL succeeds if it is answered with less than 400, a command if it exits with 0. ``alive`` says why
    there is nobody to ask any more, "" while there is. Raises BootError when a probe does not succeed.
    """
    for probe in probes:
        end = monotonic() + patience
        while why := _failed(probe):
            if gone := alive():
                raise BootError(f"it ended before {probe!r} succeeded: {gone}")
            if monotonic() > end:
                raise BootError(f"{probe!r} did not succeed within {patience:g} seconds: {why}")
            sleep(PAUSE)


def is_url(probe: str) -> bool:
    """Whether a probe is a URL."""
    return probe.startswith(("http://", "https://"))


def _failed(probe: str) -> str:
    return _failed_url(probe) if is_url(probe) else _failed_command(probe)


def _failed_url(url: str) -> str:
    """Ask for a page, whatever proxies the environment names and whoever signed its certificate."""
    import ssl
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is exercised, not trusted
    try:
        with build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(
            url, timeout=ONE_TRY
        ) as answer:
            answer.read()
    except HTTPError as error:
        return f"{error.code} {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return str(getattr(error, "reason", None) or error)
    return ""


def _failed_command(command: str) -> str:
    from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired, run

    try:
        done = run(
            shlex.split(command), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, timeout=ONE_TRY, check=False
        )
    except (OSError, TimeoutExpired) as error:
        return str(error)
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit {done.returncode}")
