"""The schedule of a whole chat answer, drawn when the request has arrived."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.gateway.calls.prompt_cache import prompt_tokens
from harness.gateway.engines.replies import Reply, reasoning_tokens, tokens
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.profiles import LlmProfile

__all__ = ["Piece", "Plan", "plan_answer", "usage_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One server-sent event: when it is due after the request, and its name in the truth."""

    due_ns: int
    event: str
    choice: dict[str, Any] | None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole answer as it will be sent.

    Attributes:
        headers_ns: when the headers are due after the request.
        pieces: the events in order.
        reply: what is said.
        reasoning: how many reasoning deltas there are.
        answer: how many answer deltas.
        cached: how many of the prompt's tokens a cache served.
    """

    headers_ns: int
    pieces: tuple[Piece, ...]
    reply: Reply
    reasoning: int
    answer: int
    cached: int = 0


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _answer_deltas(reply: Reply, call_id: str) -> Iterator[dict[str, Any]]:
    if reply.tool_call is None:
        for token in tokens(reply.text):
            yield {"content": token}
        return
    head = {
        "index": 0,
        "id": call_id,
        "type": "function",
        "function": {"name": reply.tool_call.name, "arguments": ""},
    }
    yield {"tool_calls": [head]}
    for token in tokens(reply.tool_call.arguments):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": token}}]}


def plan_answer(  # noqa: D417  # the others speak for themselves
    settings: LlmProfile,
    draws: Draws,
    reply: Reply,
    call_id: str,
    *,
    cached: tuple[int, int] = (0, 1),
) -> Plan:
    """Draw the schedule of a whole answer, in nanoseconds after the request.

    Args:
        cached: how many tokens of the prompt a cache served, and how many it has.
    """
    served, prompt = cached
    saved = 0.0
    if settings.prompt_cache is not None and prompt:
        saved = settings.prompt_cache.saving * served / prompt
    prefill = round(settings.prefill_ms_per_1000_tokens * 1000 * (prompt - served))
    first_text = prefill + round(draws.delay_ns(settings.first_text, "first_text") * (1 - saved))
    first_reasoning: int | None = None
    if settings.reasoning is not None:
        # One quantile for both: a slow answer is slow from its first thought.
        position = draws.uniform("first_text")
        thought = prefill + round(settings.reasoning.first.quantile_ns(position) * (1 - saved))
        first_reasoning = min(thought, first_text)
    first = first_text if first_reasoning is None else first_reasoning
    headers = min(draws.delay_ns(settings.headers, "headers"), first)
    pieces: list[Piece] = []
    if settings.role_chunk != "none":
        pieces.append(
            Piece(
                due_ns=headers if settings.role_chunk == "early" else first,
                event="role_sent",
                choice=_delta({"role": "assistant", "content": ""}),
            )
        )
    reasoning = 0
    if settings.reasoning is not None and first_reasoning is not None:
        dues: list[int] = []
        due = first_reasoning
        while due < first_text and len(dues) < settings.reasoning.max_tokens:
            dues.append(due)
            due += max(1, draws.delay_ns(settings.reasoning.gap, "reasoning_gap", len(dues)))
        reasoning = len(dues)
        for index, (due, token) in enumerate(zip(dues, reasoning_tokens(reasoning), strict=True)):
            pieces.append(
                Piece(
                    due_ns=due,
                    event="reasoning_sent",
                    index=index,
                    choice=_delta({"reasoning_content": token}),
                )
            )
    event = "text_sent" if reply.tool_call is None else "tool_call_sent"
    due = first_text
    answer = 0
    for delta in _answer_deltas(reply, call_id):
        if answer:
            due += draws.delay_ns(settings.gap, "gap", answer)
        pieces.append(Piece(due_ns=due, event=event, index=answer, choice=_delta(delta)))
        answer += 1
    finish = "stop" if reply.tool_call is None else "tool_calls"
    pieces.append(Piece(due_ns=due, event="finish_sent", choice=_delta({}, finish)))
    return Plan(
        headers_ns=headers,
        pieces=tuple(pieces),
        reply=reply,
        reasoning=reasoning,
        answer=answer,
        cached=served,
    )


def usage_of(messages: list[Any], plan: Plan) -> dict[str, Any]:
    """Return the tokens of a request and its answer, as OpenAI counts them."""
    prompt = len(prompt_tokens(messages))
    completion = plan.answer + plan.reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": plan.cached},
        "completion_tokens_details": {"reasoning_tokens": plan.reasoning},
    }
