"""What providers told of each request, and what was seen of the way to them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.analysis.statistics.quantile import quantile_index
from harness.analysis.summary.costs import cost_of
from harness.analysis.summary.samples import Row
from harness.analysis.turn.disturbance import Selection
from harness.analysis.turn.usage import audio_seconds_of, tokens_of
from harness.domain.request import Attempt, Connection, Request
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.domain.trial import Trial
from harness.report.format import Cell, count, milliseconds, percent
from harness.report.trial_view import ProviderFact
from harness.report.view import PlainTable

__all__ = [
    "caches_table",
    "cost_line",
    "endpoints_table",
    "provider_facts",
    "request_facts",
    "request_lines",
]

_STAGES = (Stage.STT, Stage.LLM, Stage.TTS)
_MS = 1_000_000


def _connection(connection: Connection) -> str:
    parts = ["reused" if connection.reused else "opened"]
    if connection.rtt_ns is not None:
        parts.append(f"TCP's handshake {milliseconds(connection.rtt_ns)}")
    if connection.path_rtt_ns is not None:
        parts.append(f"round trip {milliseconds(connection.path_rtt_ns)}")
    return ", ".join(parts)


def _attempt(attempt: Attempt) -> str:
    failure = attempt.failure
    if failure is None:
        said = "made again"
    else:
        said = f"{failure.kind.value}: {failure.message}"
        said += f" ({failure.status})" if failure.status is not None else ""
    if attempt.end_ns is None:
        return said
    return f"after {milliseconds(attempt.end_ns - attempt.start_ns)}: {said}"


def request_lines(request: Request) -> Iterator[tuple[str, str]]:
    """Say how a request got its connection, and what came of its earlier attempts."""
    if request.connection is not None:
        yield "connection", _connection(request.connection)
    for each in request.attempts:
        yield f"attempt {each.number}", _attempt(each)


def _chosen(requests: Sequence[Request]) -> Request | None:
    """Return the request that stands for a stage: the first that was not dropped."""
    kept = [each for each in requests if not each.cancelled]
    return next(iter(kept or requests), None)


def cost_line(provided: Sequence[ProviderFact]) -> Iterator[tuple[str, str]]:
    """Say what a trial cost, where its cost is known."""
    for name, value in provided:
        if name == "cost" and isinstance(value, float):
            yield "cost by the suite's prices", f"{value:.6f}"


def provider_facts(row: Row, suite: Suite) -> tuple[ProviderFact, ...]:
    """Return what a trial's requests told, flat: the same names for every trial.

    Of each stage: the endpoint's host, the model and the provider that say they answered, the
    request's name, whether its connection was reused, the milliseconds of the path's round trip and
    of TCP's handshake, and the number of attempts, all of the first request that was not dropped;
    then what all requests of the trial used, and what they cost by the suite's prices.
    """
    trial = row.trial
    requests = [each for turn in trial.turns for each in turn.requests]
    found: list[ProviderFact] = [("cold", trial.cold)]
    for stage in _STAGES:
        mine = [each for each in requests if each.stage is stage]
        found += _stage_facts(stage.value, _chosen(mine))
        if stage is Stage.LLM:
            tokens = [told for each in mine if (told := tokens_of(each)) is not None]
            cached = [each.cached for each in tokens if each.cached is not None]
            found += [
                ("llm_input_tokens", sum(each.sent for each in tokens) if tokens else None),
                ("llm_output_tokens", sum(each.received for each in tokens) if tokens else None),
                ("llm_cached_tokens", sum(cached) if cached else None),
            ]
            continue
        if stage is Stage.TTS:
            found.append(("tts_characters", sum(len(each.text) for each in mine) if mine else None))
        seconds = [long for each in mine if (long := audio_seconds_of(each)) is not None]
        found.append((f"{stage.value}_audio_s", round(sum(seconds), 3) if seconds else None))
    candidate = next((each for each in suite.candidates if each.name == trial.key.candidate), None)
    cost = None
    if candidate is not None and suite.prices:
        silence = {each.name: each.silence_s for each in suite.conditions}
        cost = cost_of([row], candidate, suite.prices, silence_s=silence)
    found.append(("cost", None if cost is None else cost.total))
    return tuple(found)


def _stage_facts(name: str, request: Request | None) -> list[ProviderFact]:
    return [(f"{name}_{fact}", value) for fact, value in _answered(request).items()]


def _answered(request: Request | None) -> dict[str, str | int | float | bool | None]:
    """Return who answered a request and over what; the same names without one."""
    facts = {} if request is None else request.facts
    connection = None if request is None else request.connection
    handshake = None if connection is None else connection.rtt_ns
    path = None if connection is None else connection.path_rtt_ns
    return {
        "endpoint": _text(facts.get("endpoint")),
        "model": _text(facts.get("model")),
        "served_by": _text(facts.get("served_by")),
        "request_id": _text(facts.get("request_id")),
        "reused": None if connection is None else connection.reused,
        "rtt_ms": None if path is None else path / _MS,
        "connect_ms": None if handshake is None else handshake / _MS,
        "attempts": None if request is None else len(request.attempts) + 1,
    }


def request_facts(request: Request) -> dict[str, str | int | float | bool | None]:
    """Return who answered a request, over what, and what it used: the names are of any request."""
    tokens = tokens_of(request)
    return {
        **_answered(request),
        "input_tokens": None if tokens is None else tokens.sent,
        "output_tokens": None if tokens is None else tokens.received,
        "cached_tokens": None if tokens is None else tokens.cached,
        "audio_s": audio_seconds_of(request),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _of(some: int, whole: int) -> str:
    return f"{count(some)} of {count(whole)}"


def _counted(selection: Selection, stage: Stage) -> list[Request]:
    requests = (
        _chosen([each for turn in trial.turns for each in turn.requests if each.stage is stage])
        for trial in selection.main
    )
    return [each for each in requests if each is not None]


def _rank(values: Sequence[int], share: float) -> str:
    return milliseconds(sorted(values)[quantile_index(len(values), share)], 2)


def endpoints_table(
    selections: Mapping[str, Selection], emulated: Mapping[str, Iterable[Stage]]
) -> PlainTable | None:
    """Return how far each candidate's endpoints are; None where nothing is known of any."""
    rows: list[tuple[Cell | str, ...]] = []
    for name, selection in selections.items():
        for stage in _STAGES:
            requests = _counted(selection, stage)
            connections = [each.connection for each in requests if each.connection is not None]
            if not connections:
                continue
            hosts = sorted({str(each.facts.get("endpoint", "")) for each in requests} - {""})
            paths = [each.path_rtt_ns for each in connections if each.path_rtt_ns is not None]
            shakes = [each.rtt_ns for each in connections if each.rtt_ns is not None]
            texts = [_rank(paths, share) if paths else "–" for share in (0.5, 0.95)]
            texts.append(_rank(shakes, 0.5) if shakes else "–")
            own = stage in set(emulated.get(name, ()))
            rows.append(
                (
                    name,
                    stage.value.upper(),
                    ", ".join(hosts) or "–",
                    *(Cell(text=text, emulated=own and text != "–") for text in texts),
                    _of(sum(each.reused for each in connections), len(connections)),
                    count(sum(bool(each.attempts) for each in requests)),
                )
            )
    if not rows:
        return None
    return PlainTable(
        title="The way to each endpoint",
        columns=(
            "Candidate",
            "Stage",
            "Endpoint",
            "Round trip, p50",
            "Round trip, p95",
            "TCP's handshake, p50",
            "Reused connections",
            "Made again",
        ),
        rows=tuple(rows),
        note="The least round trip that the kernel saw on each connection, to the machine that "
        "ends TCP: the service's edge, or a proxy. It is inside every latency above, and nothing "
        "was sent to measure it. The handshake is that of connections opened within a trial.",
    )


def caches_table(selections: Mapping[str, Selection], suite: Suite) -> PlainTable | None:
    """Return how many LLM requests a prompt cache served; None where no usage tells."""
    rows: list[tuple[Cell | str, ...]] = []
    ways = {each.name: each.llm.cache for each in suite.candidates if each.llm is not None}
    for name, selection in selections.items():
        requests = [
            request
            for trial in selection.main
            if isinstance(trial, Trial)
            for turn in trial.turns
            for request in turn.requests
            if request.stage is Stage.LLM and not request.cancelled
        ]
        told = [
            tokens
            for each in requests
            if (tokens := tokens_of(each)) is not None and tokens.cached is not None
        ]
        if not told:
            continue
        sent = sum(each.sent for each in told)
        cached = sum(each.cached or 0 for each in told)
        served = sum(bool(each.cached) for each in told)
        rows.append(
            (
                name,
                ways.get(name, "–"),
                _of(served, len(told)),
                percent(cached / sent) if sent else "–",
            )
        )
    if not rows:
        return None
    return PlainTable(
        title="Prompt caches",
        columns=("Candidate", "cache", "Requests served from a cache", "Tokens served"),
        rows=tuple(rows),
        note="By the providers' own count of cached tokens. Repeats of an utterance meet what the "
        'first one left there; cache = "bust" begins every prompt anew.',
    )
