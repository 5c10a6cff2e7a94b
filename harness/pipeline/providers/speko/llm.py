"""Speko's completion as a livekit LLM.

Deltas become chunks as they come. With ``buffered`` the whole answer becomes one chunk when it is
complete, as Speko's JavaScript adapter does it, to show what that costs.
"""

from collections.abc import Mapping
from typing import Any, Final

from livekit.agents import APIConnectOptions, NotGivenOr, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN
from livekit.agents.utils import is_given, shortuuid

from harness.domain.request import FailureKind
from harness.pipeline.providers.speko.wire import SpekoEndpoint, events, failed, missing_done

__all__ = ["SpekoLLM", "speko_messages"]

_PATH: Final = "/v1/complete"


def _text(content: Any) -> str:
    """Return the text of a message's content.

    Raises:
        APIError: there is something else in it.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise failed("Speko takes text alone", FailureKind.BAD_REQUEST, retryable=False)
        parts.append(str(part["text"]))
    return "\n".join(parts)


def speko_messages(context: llm.ChatContext) -> list[dict[str, Any]]:
    """Return a conversation as Speko's messages.

    A developer's message is a system's; calls of tools stand in the assistant's message, their
    results in messages of the role ``tool``.
    """
    messages, _ = context.to_provider_format("openai", inject_dummy_user_message=False)
    wrong = {
        item.call_id
        for item in context.items
        if item.type == "function_call_output" and item.is_error
    }
    found: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        made: dict[str, Any] = {
            "role": "system" if role == "developer" else role,
            "content": _text(message.get("content")),
        }
        if message.get("tool_calls"):
            made["toolCalls"] = [
                {
                    "id": call["id"],
                    "name": call["function"]["name"],
                    "args": call["function"]["arguments"],
                }
                for call in message["tool_calls"]
            ]
        if role == "tool":
            made["toolCallId"] = message["tool_call_id"]
            if message["tool_call_id"] in wrong:
                made["isError"] = True
        found.append(made)
    return found


def _tools(tools: list[llm.Tool]) -> list[dict[str, Any]]:
    described = llm.ToolContext(tools).parse_function_tools("openai", strict=False)
    return [
        {
            "name": each["function"]["name"],
            "description": each["function"].get("description") or "",
            "parameters": each["function"].get("parameters") or {"type": "object"},
        }
        for each in described
    ]


class SpekoLLM(llm.LLM[Any]):
    """Completion by whichever provider Speko chooses.

    Args:
        endpoint: where, and what is asked of the router.
        settings: further fields of the request: ``temperature``, ``maxTokens``,
            ``reasoningEffort``, ``maxToolHops``.
        buffered: hand out the answer as one piece when it is complete.
    """

    def __init__(
        self, endpoint: SpekoEndpoint, *, settings: Mapping[str, Any], buffered: bool = False
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.settings = dict(settings)
        self.buffered = buffered

    @property
    def model(self) -> str:
        """Return ``auto``: the router decides for each request."""
        return "auto"

    @property
    def provider(self) -> str:
        """Return Speko's name."""
        return "Speko"

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        """Ask for the next message of a conversation."""
        asked: dict[str, Any] = dict(self.settings)
        if tools:
            asked["tools"] = _tools(tools)
            if is_given(tool_choice):
                asked["toolChoice"] = tool_choice
            if is_given(parallel_tool_calls):
                asked["parallelToolCalls"] = parallel_tool_calls
        if is_given(extra_kwargs):
            asked |= extra_kwargs
        return _SpekoStream(
            self, asked, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options
        )

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self.endpoint.client.aclose()


class _SpekoStream(llm.LLMStream):
    def __init__(self, client: SpekoLLM, asked: dict[str, Any], **base: Any) -> None:
        self._speko = client
        self._asked = asked
        super().__init__(client, **base)

    async def _run(self) -> None:
        endpoint = self._speko.endpoint
        body: dict[str, Any] = {
            "messages": speko_messages(self._chat_ctx),
            "intent": dict(endpoint.intent),
            **self._asked,
        }
        if endpoint.constraints is not None:
            body["constraints"] = dict(endpoint.constraints)
        done: dict[str, Any] | None = None
        calls: list[llm.FunctionToolCall] = []
        async with endpoint.post(_PATH, self._conn_options, body=body) as response:
            name_of = response.headers.get("x-request-id") or shortuuid("speko_")
            async for name, data in events(response):
                if name == "delta" and not self._speko.buffered:
                    text = data.get("text")
                    if not isinstance(text, str):
                        raise failed("Speko sent a delta without a text", FailureKind.MALFORMED)
                    if text:
                        self._give(name_of, llm.ChoiceDelta(role="assistant", content=text))
                elif name == "tool_call":
                    calls.append(_call(data))
                    if not self._speko.buffered:
                        delta = llm.ChoiceDelta(role="assistant", tool_calls=[calls[-1]])
                        self._give(name_of, delta)
                elif name == "done":
                    done = data
        if done is None:
            raise missing_done()
        if self._speko.buffered:
            text = done.get("text")
            if not isinstance(text, str) and not calls:
                raise failed("Speko's done event has no text", FailureKind.MALFORMED)
            delta = llm.ChoiceDelta(
                role="assistant", content=text if isinstance(text, str) else None, tool_calls=calls
            )
            self._give(name_of, delta)
        usage = _usage(done.get("usage"))
        if usage is not None:
            self._event_ch.send_nowait(llm.ChatChunk(id=name_of, usage=usage))

    def _give(self, name: str, delta: llm.ChoiceDelta) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id=name, delta=delta))


def _call(data: Mapping[str, Any]) -> llm.FunctionToolCall:
    named = [data.get(key) for key in ("id", "name", "args")]
    if not all(isinstance(each, str) for each in named):
        raise failed("Speko sent an incomplete tool call", FailureKind.MALFORMED)
    return llm.FunctionToolCall(
        call_id=str(named[0]), name=str(named[1]), arguments=str(named[2]) or "{}"
    )


def _usage(told: Any) -> llm.CompletionUsage | None:
    if not isinstance(told, dict):
        return None
    prompt, completion = told.get("promptTokens"), told.get("completionTokens")
    if type(prompt) is not int or type(completion) is not int:
        return None
    return llm.CompletionUsage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )
