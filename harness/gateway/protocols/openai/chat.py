"""OpenAI's chat completions, as OpenAdapter, vLLM and others serve them.

The events of a stream: role chunk, reasoning deltas, answer deltas or tool-call deltas, finish
reason, usage (if asked for), ``[DONE]``. The whole schedule is drawn when the request arrives;
every piece has an absolute deadline.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, PURPOSE_HEADER, REPLY, Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.prompt_cache import prompt_tokens
from harness.gateway.calls.refusals import Refusal, error_body
from harness.gateway.calls.replying import HTML_PAGE, early_fault, guarded
from harness.gateway.calls.replying import Reply as HttpReply
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked, routed_by_headers
from harness.gateway.engines.replies import Reply, nonsense, reasoning_tokens, reply_to
from harness.gateway.profiles.faults import MIDDLE_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import LlmProfile
from harness.gateway.protocols.openai.planning import Plan, plan_answer, usage_of

__all__ = ["ROUTES", "chat_completions"]

_LONG: Final = frozenset({"messages", "tools"})


async def _read_body(request: web.Request) -> tuple[dict[str, Any], int]:
    data = await request.read()
    received_ns = time.perf_counter_ns()
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body of the request must be a JSON object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "'messages' must be a list of at least one message")
    if not all(isinstance(message, dict) for message in messages):
        raise Refusal(400, "each of 'messages' must be an object")
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "you must provide a model parameter")
    if body.get("tools") is not None and not isinstance(body["tools"], list):
        raise Refusal(400, "'tools' must be a list")
    return body, received_ns


def _purpose(request: web.Request, body: dict[str, Any]) -> str:
    """Return what a completion is for, as the client says, or as its last message tells."""
    named = request.headers.get(PURPOSE_HEADER)
    if named:
        return named
    return "tool" if body["messages"][-1].get("role") == "tool" else REPLY


async def chat_completions(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/chat/completions``, streamed or whole."""
    body, received_ns = await _read_body(request)
    profile = gateway.profile(request, Stage.LLM, body["model"])
    settings = profile.llm
    assert settings is not None
    call = begin(gateway, request, Stage.LLM, "openai-chat", profile.name, received_ns=received_ns)
    salient = json.dumps([body["messages"], body.get("tools")], sort_keys=True).encode()
    draws = gateway.draws(profile.name, Stage.LLM, salient, _purpose(request, body))
    note_asked(call, request, {key: body[key] for key in body if key not in _LONG})
    fault = settings.faults.draw(draws)
    refused = early_fault(call, request, fault, settings.faults)
    if refused is not None:
        return refused
    if fault is FaultKind.SLOW_HELLO:
        call.fault(fault)
        call.held_ns = round(settings.faults.slow_hello_s * NS_PER_S)
    route = routed_by_headers(call, profile, request, draws)
    settings = route.settings
    assert settings is not None
    if fault is FaultKind.NONSENSE:
        call.fault(fault)
        reply = Reply(text=nonsense(draws.key))
    elif fault is FaultKind.OVERSIZED:
        call.fault(fault)
        reply = Reply(text="x" * OVERSIZED_BYTES)
    else:
        reply = reply_to(
            body["messages"],
            tools=(body.get("tools") or ()) if settings.tool_calls else (),
            tool_choice=body.get("tool_choice"),
            max_sentences=settings.max_sentences,
        )
    served = (0, 1)
    if settings.prompt_cache is not None or settings.prefill_ms_per_1000_tokens:
        prompt = prompt_tokens(body["messages"])
        known = 0
        if settings.prompt_cache is not None:
            owner = f"{profile.name} {body['model']}"
            known = gateway.prompts.serve(settings.prompt_cache, owner, prompt)
        served = known, len(prompt)
    plan = plan_answer(settings, draws, reply, gateway.next_name("call_"), cached=served)
    answer = _Answer(
        call,
        request,
        body=body,
        plan=plan,
        settings=settings,
        fault=fault,
        headers=route.headers,
    )
    if fault in (FaultKind.WRONG_CONTENT_TYPE, FaultKind.EMPTY):
        return await guarded(call, answer.nothing())
    return await guarded(call, answer.streamed() if body.get("stream") else answer.whole())


class _Answer:
    def __init__(
        self,
        call: Call,
        request: web.Request,
        *,
        body: dict[str, Any],
        plan: Plan,
        settings: LlmProfile,
        fault: FaultKind | None,
        headers: Mapping[str, str],
    ) -> None:
        self._call = call
        self._body = body
        self._plan = plan
        self._settings = settings
        self._fault = fault
        stream_options = body.get("stream_options")
        self._wants_usage = isinstance(stream_options, dict) and bool(
            stream_options.get("include_usage")
        )
        if fault is FaultKind.WRONG_CONTENT_TYPE:
            content_type = "text/html"
        else:
            content_type = "text/event-stream" if body.get("stream") else "application/json"
        self.http = HttpReply(call, request, content_type, headers)
        # A service tells when it made the answer; the gateway has no wall clock to tell by.
        self._envelope = {
            "id": f"chatcmpl-{call.request}",
            "object": "chat.completion.chunk" if body.get("stream") else "chat.completion",
            "created": 0,
            "model": body["model"],
            "system_fingerprint": "turnbench-gateway",
        }
        if isinstance(body.get("service_tier"), str):
            self._envelope["service_tier"] = body["service_tier"]

    def _event(self, choice: dict[str, Any] | None, usage: dict[str, Any] | None = None) -> bytes:
        chunk = {**self._envelope, "choices": [] if choice is None else [choice]}
        if self._wants_usage:
            chunk["usage"] = usage
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode(errors="replace") + b"\n\n"

    async def nothing(self) -> web.StreamResponse:
        """A 200 that holds nothing, or a page of HTML."""
        assert self._fault is not None
        self._call.fault(self._fault)
        due = self._call.base_ns + self._plan.headers_ns
        await self.http.start(due)
        if self._fault is FaultKind.WRONG_CONTENT_TYPE:
            await self.http.send(HTML_PAGE, due)
        await self.http.end()
        return self.http.response

    async def streamed(self) -> web.StreamResponse:
        call, plan = self._call, self._plan
        base = call.base_ns
        ready = [(piece, self._event(piece.choice)) for piece in plan.pieces]
        break_at = plan.answer // 2 if self._fault in MIDDLE_FAULTS else None
        await self.http.start(base + plan.headers_ns)
        for piece, data in ready:
            if (
                break_at is not None
                and piece.index == break_at
                and piece.event
                in (
                    "text_sent",
                    "tool_call_sent",
                )
            ):
                await self._break(base + piece.due_ns, data)
                return self.http.response
            sent = await self.http.send(data, base + piece.due_ns)
            call.mark(
                piece.event,
                sent,
                index=piece.index,
                due_ns=base + piece.due_ns,
                injected_ns=base + piece.due_ns - call.received_ns,
            )
        last = base + plan.pieces[-1].due_ns
        if self._wants_usage:
            sent = await self.http.send(self._event(None, self._usage()), last)
            call.mark("usage_sent", sent, due_ns=last, injected_ns=last - call.received_ns)
        sent = await self.http.send(b"data: [DONE]\n\n", last)
        call.mark("done_sent", sent, due_ns=last, injected_ns=last - call.received_ns)
        await self.http.end()
        return self.http.response

    def _usage(self) -> dict[str, Any]:
        return usage_of(self._body["messages"], self._plan)

    async def _break(self, due_ns: int, data: bytes) -> None:
        """Let a fault strike in the middle of the answer."""
        assert self._fault is not None
        self._call.fault(self._fault)
        error = error_body(500, "The upstream provider failed while it answered")
        await self.http.break_off(
            self._fault,
            due_ns,
            stall_s=self._settings.faults.stall_s,
            malformed=data[: len(data) // 2] + b"\n\n",
            error=b"data: " + json.dumps(error).encode() + b"\n\n",
        )

    async def whole(self) -> web.StreamResponse:
        plan, call = self._plan, self._call
        message: dict[str, Any] = {"role": "assistant", "content": plan.reply.text or None}
        if plan.reasoning:
            message["reasoning_content"] = "".join(reasoning_tokens(plan.reasoning))
        if plan.reply.tool_call is not None:
            function = {
                "name": plan.reply.tool_call.name,
                "arguments": plan.reply.tool_call.arguments,
            }
            message["tool_calls"] = [
                {"id": f"call_{call.request}", "type": "function", "function": function}
            ]
        finish = "stop" if plan.reply.tool_call is None else "tool_calls"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        body = {**self._envelope, "choices": [choice], "usage": self._usage()}
        data = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        due = call.base_ns + plan.pieces[-1].due_ns
        await self.http.start(due)
        if self._fault in MIDDLE_FAULTS:
            await self._break(due, data)
            return self.http.response
        sent = await self.http.send(data, due)
        call.mark("done_sent", sent, due_ns=due, injected_ns=due - call.received_ns)
        await self.http.end()
        return self.http.response


ROUTES: Final = (Route(method="POST", path="/v1/chat/completions", handler=chat_completions),)
