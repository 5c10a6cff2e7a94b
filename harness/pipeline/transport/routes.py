"""Which provider stood behind a router's answer, as its headers tell."""

from collections.abc import Mapping

__all__ = ["route_of"]


def route_of(headers: Mapping[str, str]) -> dict[str, object]:
    """Return facts: ``route.`` and provider, model, failover_count, scores_run_id.

    Speko's platform names each in a header of its own; its OpenAI-like router names provider and
    model in ``x-route``, as ``provider:model`` or ``provider/model``. What is not told is left out.

    Args:
        headers: of the response, by lower-case name.
    """
    route: dict[str, object] = {}
    whole = headers.get("x-route", "")
    if whole:
        mark = ":" if ":" in whole else "/"
        provider, _, model = whole.partition(mark)
        route["route.provider"] = provider
        if model:
            route["route.model"] = model
    for header, name in (
        ("x-speko-provider", "route.provider"),
        ("x-speko-model", "route.model"),
        ("x-speko-scores-run-id", "route.scores_run_id"),
    ):
        if headers.get(header):
            route[name] = headers[header]
    failovers = headers.get("x-speko-failover-count", "")
    if failovers.isdigit():
        route["route.failover_count"] = int(failovers)
    return route
