"""Where a suite's providers are, and whether they take a connection."""

import asyncio
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable

from harness.authorities import trusted
from harness.cli.shared.finding import Finding
from harness.cli.shared.key_checks import lacking
from harness.domain.providers import PROVIDERS, EnvironmentKey
from harness.domain.secrecy import with_variables
from harness.domain.suite import Suite, Via
from harness.domain.timeline import Stage
from harness.store.runs.environment import provider_keys
from harness.store.secrecy import redact

__all__ = ["dead_endpoints", "endpoint_findings"]


CONNECT_TIMEOUT_S = 5.0


def _addresses(suite: Suite | None) -> dict[str, str]:
    """Return the addresses to try: those of the suite's stages, or of providers with keys."""
    wanted: list[tuple[str, Stage, str | None]] = []
    if suite is None:
        for spec in PROVIDERS.values():
            wanted += [
                (spec.name, stage, None) for stage in spec.stages if not lacking(spec, [stage])
            ]
    elif suite.via is Via.LIVE:
        for candidate in suite.candidates:
            for stage in (Stage.STT, Stage.LLM, Stage.TTS):
                settings = candidate.stage(stage)
                if settings is not None:
                    settings = with_variables(settings, os.environ)
                    own = settings.options.get("base_url") or settings.options.get("endpoint")
                    wanted.append((settings.provider, stage, own if isinstance(own, str) else None))
    found: dict[str, str] = {}
    for provider, stage, own in wanted:
        for name, address in _stage_addresses(provider, stage, own):
            found.setdefault(address, name)
    return found


def _stage_addresses(provider: str, stage: Stage, own: str | None) -> Iterable[tuple[str, str]]:
    if own is not None:
        yield f"{provider}'s {stage.value}", own
        return
    keys = provider_keys(provider, [stage])
    # A stage that has an address of its own does not use the provider's common one.
    special = [key for key in PROVIDERS[provider].stages[stage].keys if _is_address(key)]
    for key in special or [key for key in keys if _is_address(key)]:
        address = os.environ.get(key.name, "").strip() or key.default
        if address:
            yield f"{provider} {key.name}", address
    if not any(map(_is_address, keys)):
        # A provider whose address is no variable is still somewhere.
        for check in PROVIDERS[provider].key_checks:
            if stage in check.stages and not check.address:
                yield f"{provider}'s {stage.value}", check.base_url


def _is_address(key: EnvironmentKey) -> bool:
    return key.name.endswith(("_URL", "_ENDPOINT")) and not key.secret


def endpoint_findings(suite: Suite | None) -> Iterable[Finding]:
    """Return whether each address that a suite needs takes a connection."""
    addresses = _addresses(suite)
    if not addresses:
        return ()

    async def ask() -> list[Finding]:
        return list(await asyncio.gather(*(_reach(name, each) for each, name in addresses.items())))

    return asyncio.run(ask())


def dead_endpoints(suite: Suite) -> tuple[str, ...]:
    """Return a line for each address of a live suite that does not take a connection.

    Nothing is said where a proxy stands between, which alone can tell.
    """
    if any(name in urllib.request.getproxies() for name in ("http", "https", "all")):
        return ()
    return tuple(
        f"{each.text}; mend the address, or see `turnbench doctor`"
        for each in endpoint_findings(suite)
        if each.state == "fail"
    )


async def _reach(name: str, address: str) -> Finding:
    """Connect to an address and say how long the network takes; nothing is asked of it."""
    try:
        parts = urllib.parse.urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if host is None or scheme not in ("http", "https", "ws", "wss"):
        text = f"{name}: {redact(address)!r} is no address; it begins with https:// or wss://"
        return Finding(topic="endpoint", state="fail", text=text)
    secure = scheme in ("https", "wss")
    shown = f"{scheme}://{host}{f':{port}' if port else ''}"
    target = port or (443 if secure else 80)
    begun = time.perf_counter_ns()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, target)
            took = (time.perf_counter_ns() - begun) / 1e6
            writer.close()
            if secure:
                begun = time.perf_counter_ns()
                _, writer = await asyncio.open_connection(host, target, ssl=trusted())
                writer.close()
    except (OSError, TimeoutError) as error:
        why = (
            f"no answer within {CONNECT_TIMEOUT_S:g} s"
            if isinstance(error, TimeoutError)
            else redact(str(error))
        )
        return Finding(
            topic="endpoint", state="fail", text=f"{name}: {shown} cannot be reached: {why}"
        )
    return Finding(topic="endpoint", state="ok", text=f"{name}: {shown} in {took:.1f} ms (TCP)")
