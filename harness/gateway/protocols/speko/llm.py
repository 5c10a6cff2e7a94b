"""Speko's ``POST /v1/complete``: messages in, deltas and tool calls out.

The answer's schedule is that of the chat protocol. Reasoning passes in silence, because Speko does
not send it; a tool call is sent when it is complete.
"""

import time
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.replying import HTML_PAGE, Reply, guarded
from harness.gateway.calls.routed import note_asked
from harness.gateway.engines.replies import Reply as Said
from harness.gateway.engines.replies import nonsense, reply_to
from harness.gateway.profiles.faults import MIDDLE_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import LlmProfile
from harness.gateway.protocols.openai.planning import Piece, Plan, plan_answer, usage_of
from harness.gateway.protocols.speko.wire import (
    Opening,
    Problem,
    event,
    intent_of,
    json_body,
    opening,
    route_facts,
)

__all__ = ["complete"]

_ROLES: Final = ("system", "user", "assistant", "tool")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
_KNOWN: Final = frozenset(
    {
        "messages",
        "intent",
        "systemPrompt",
        "temperature",
        "maxTokens",
        "reasoningEffort",
        "constraints",
        "tools",
        "toolChoice",
        "parallelToolCalls",
        "maxToolHops",
    }
)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Problem(400, "messages must be a list of at least one message")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Problem(400, f"messages[{number}].role must be one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str):
            raise Problem(400, f"messages[{number}].content must be a string")
        if message["role"] == "tool" and not isinstance(message.get("toolCallId"), str):
            raise Problem(400, f"messages[{number}].toolCallId must be a string")
        for each in message.get("toolCalls") or ():
            named = isinstance(each, dict) and all(
                isinstance(each.get(key), str) for key in ("id", "name", "args")
            )
            if not named:
                raise Problem(400, f"messages[{number}].toolCalls: each has id, name and args")
    return messages


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools as the scripted LLM knows them."""
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        raise Problem(400, "tools must be a list")
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise Problem(400, f"tools[{number}].name must be a string")
        if not isinstance(tool.get("parameters", {}), dict):
            raise Problem(400, f"tools[{number}].parameters must be an object")
    return [{"type": "function", "function": tool} for tool in tools]


def _checked(body: dict[str, Any]) -> None:
    unknown = set(body) - _KNOWN
    if unknown:
        raise Problem(400, f"unknown field {min(unknown)!r}")
    effort = body.get("reasoningEffort")
    if effort is not None and effort not in _EFFORTS:
        raise Problem(400, f"reasoningEffort must be one of {', '.join(_EFFORTS)}")
    for name in ("temperature", "maxTokens"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise Problem(400, f"{name} must be a number")
    if not isinstance(body.get("systemPrompt", ""), str):
        raise Problem(400, "systemPrompt must be a string")


async def complete(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/complete``."""
    data = await request.read()
    received_ns = time.perf_counter_ns()
    body = json_body(data, "the body of the request")
    _checked(body)
    messages, tools = _messages(body), _tools(body)
    intent = intent_of(body.get("intent"), body.get("constraints"), Stage.LLM)
    profile = gateway.profile(request, Stage.LLM)
    assert profile.llm is not None
    call = begin(gateway, request, Stage.LLM, "speko-llm", profile.name, received_ns=received_ns)
    note_asked(
        call, None, {key: body[key] for key in body if key not in ("messages", "systemPrompt")}
    )
    content = repr([messages, tools]).encode(errors="surrogatepass")
    start = opening(call, request, profile, intent, content, profile.llm.faults)
    if isinstance(start, web.Response):
        return start
    settings: LlmProfile = start.route.settings
    if start.fault is not None and start.fault not in MIDDLE_FAULTS:
        call.fault(start.fault)
    if start.fault is FaultKind.NONSENSE:
        said = Said(text=nonsense(start.draws.key))
    else:
        said = reply_to(
            messages,
            tools=tools if settings.tool_calls else (),
            tool_choice=_choice(body.get("toolChoice")),
            max_sentences=settings.max_sentences,
        )
    plan = plan_answer(settings, start.draws, said, gateway.next_name("call_"))
    answer = _Answer(call, request, start, plan, messages, settings.faults.stall_s)
    return await guarded(call, answer.run())


def _choice(choice: Any) -> Any:
    """Return a tool choice in OpenAI's form."""
    if isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


class _Answer:
    def __init__(  # noqa: PLR0917  # the parts of one answer
        self,
        call: Call,
        request: web.Request,
        start: Opening,
        plan: Plan,
        messages: list[dict[str, Any]],
        stall_s: float,
    ) -> None:
        self._call = call
        self._start = start
        self._plan = plan
        self._messages = messages
        self._stall_s = stall_s
        self._facts = route_facts(start.route, call.profile)
        self._name = call.gateway.next_name("tool_")
        wrong = start.fault is FaultKind.WRONG_CONTENT_TYPE
        self._http = Reply(call, request, "text/html" if wrong else "text/event-stream")

    def _tool_call(self) -> dict[str, str] | None:
        asked = self._plan.reply.tool_call
        if asked is None:
            return None
        return {"id": self._name, "name": asked.name, "args": asked.arguments}

    async def run(self) -> web.StreamResponse:
        call, plan, http, fault = self._call, self._plan, self._http, self._start.fault
        base = call.base_ns
        await http.start(base + plan.headers_ns)
        if fault in (FaultKind.WRONG_CONTENT_TYPE, FaultKind.EMPTY):
            if fault is FaultKind.WRONG_CONTENT_TYPE:
                await http.send(HTML_PAGE, base + plan.headers_ns)
            await http.end()
            return http.response
        # Until an upstream has said something the router may still change to another.
        first = next(each for each in plan.pieces if each.event in _SPEAKING)
        meta = event("meta", {**self._facts, "totalFailoverCount": self._facts["failoverCount"]})
        await http.send(meta, base + first.due_ns)
        if fault is FaultKind.OVERSIZED:
            big = event("delta", {"text": "x" * OVERSIZED_BYTES})
            await http.send(big, base + first.due_ns)
        break_at = plan.answer // 2 if fault in MIDDLE_FAULTS else None
        for piece in plan.pieces:
            if piece.event not in _SPEAKING:
                continue
            due = base + piece.due_ns
            if break_at is not None and piece.index == break_at:
                await self._break(piece, due)
                return http.response
            if piece.event == "text_sent":
                assert piece.choice is not None
                data = event("delta", {"text": piece.choice["delta"]["content"]})
                sent = await http.send(data, due)
                call.mark(
                    piece.event,
                    sent,
                    index=piece.index,
                    due_ns=due,
                    injected_ns=due - call.received_ns,
                )
        await self._end(base + plan.pieces[-1].due_ns)
        return http.response

    async def _end(self, due: int) -> None:
        call, http = self._call, self._http
        injected = due - call.received_ns
        asked = self._tool_call()
        if asked is not None:
            sent = await http.send(event("tool_call", asked), due)
            call.mark("tool_call_sent", sent, index=0, due_ns=due, injected_ns=injected)
        usage = usage_of(self._messages, self._plan)
        done: dict[str, Any] = {
            "text": self._plan.reply.text,
            "usage": {
                "promptTokens": usage["prompt_tokens"],
                "completionTokens": usage["completion_tokens"],
            },
            **self._facts,
        }
        if asked is not None:
            done["toolCalls"] = [asked]
        sent = await http.send(event("done", done), due)
        call.mark("done_sent", sent, due_ns=due, injected_ns=injected)
        await http.end()

    async def _break(self, piece: Piece, due: int) -> None:
        """Let a fault strike in the middle of the answer."""
        assert self._start.fault is not None
        self._call.fault(self._start.fault)
        whole = event("delta", {"text": str(piece.index) * 8})
        said = {"error": "The upstream provider failed", "code": "COMPLETE_FAILED"}
        await self._http.break_off(
            self._start.fault,
            due,
            stall_s=self._stall_s,
            malformed=whole[: len(whole) // 2] + b"\n\n",
            error=event("error", said),
        )


_SPEAKING: Final = ("text_sent", "tool_call_sent")
