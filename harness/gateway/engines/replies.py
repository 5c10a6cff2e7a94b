"""The scripted LLM: answers that fit what was said, the same every time.

The last user message is matched against intents by its words; the reply may echo what was asked
for (a number, a room, a thing). Tokens are pieces as a byte-pair encoder would make them: a leading
space belongs to the word that follows, long words come in parts.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Message", "Reply", "ToolCall", "nonsense", "reasoning_tokens", "reply_to", "tokens"]

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that the client offered; `arguments` is JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the scripted LLM answers: a text, or a tool call."""

    text: str
    tool_call: ToolCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """Words of which one must be said, and the replies to choose from.

    A reply may hold ``{detail}``; it is taken from the user's words by `detail`, a pattern with one
    group, and replies that need it are left out when it does not match.
    """

    words: frozenset[str]
    replies: tuple[str, ...]
    detail: str = ""


def _intent(words: str, *replies: str, detail: str = "") -> _Intent:
    return _Intent(words=frozenset(words.split()), replies=replies, detail=detail)


_DURATION = (
    r"((?:(?:an?|\d+|[a-z]+teen|[a-z]+ty(?: [a-z]+)?|one|two|three|four|five|six|seven|eight|nine|"
    r"ten|eleven|twelve)(?: and a half)? (?:second|minute|hour)s?(?: and )?)+)"
)

_INTENTS: Final[tuple[_Intent, ...]] = (
    _intent("cancel stop nevermind quit", "Okay, I have cancelled that.", "Done, it is cancelled."),
    _intent(
        "timer timers minuteur",
        "Okay, your timer for {detail} is running. I will let you know when it is done.",
        "Sure, {detail}, starting now.",
        "Your timers are up to date. Just tell me how long the next one should be.",
        detail=_DURATION,
    ),
    _intent(
        "alarm wake",
        "Your alarm is set for {detail}. Sleep well, and I will wake you then.",
        "I have set the alarm. Would you like it every day?",
        detail=r"\b(?:for|at|to) ((?:\d+|[a-z]+)(?::\d\d)?"
        r"(?: o['’]? ?clock\b| (?![ap]\b)[a-z]+\b(?!['’]))?(?: [ap]\.? ?m\b)?)",
    ),
    _intent(
        "remind reminder reminders",
        "All right, I will remind you to {detail}.",
        "I have added the reminder, and I will speak up when it is time.",
        detail=r"remind me (?:to )?(.+?)(?: at| on| in| tomorrow|$)",
    ),
    _intent(
        "light lights lamp brightness dim lighting bulb",
        "Okay, I have changed the lights in the {detail}. Tell me if that is too bright.",
        "Done, the lights are as you wanted them. Anything else?",
        detail=r"\b(kitchen|bedroom|office|garage|hallway|bathroom|living room|bed)\b",
    ),
    _intent(
        "weather rain raining sunny snow forecast umbrella",
        "It looks mild and mostly clear today, with a high of eighteen degrees. "
        "There is a small chance of rain towards the evening.",
        "Expect some clouds this morning and sunshine later. You will not need an umbrella.",
    ),
    _intent(
        "temperature thermostat heating degrees warmer colder ecobee heat",
        "It is twenty one degrees inside at the moment. Shall I make it warmer?",
        "I have adjusted the thermostat. It should feel comfortable in a few minutes.",
    ),
    _intent(
        "shopping groceries grocery list",
        "I have added {detail} to your list. Is there anything else that you need?",
        "Your list is up to date. It has six things on it now.",
        detail=r"\b(?:add|put) (.+?) (?:to|on)\b",
    ),
    _intent(
        "coffee espresso latte cappuccino tea mocha",
        "One {detail}, coming right up. Would you like that small, medium or large?",
        "Certainly. Would you like milk or sugar with that?",
        detail=r"\b(espresso|latte|cappuccino|mocha|tea|coffee)\b",
    ),
    _intent(
        "order pizza burger menu delivery fries sandwich",
        "Of course. I have added the {detail} to your order, and it should be ready in about "
        "twenty minutes.",
        "I can help with your order. Is that for here, or to take away?",
        detail=r"\b(pizza|burger|fries|sandwich|salad)\b",
    ),
    _intent(
        "table reservation reserve restaurant dinner booking",
        "I have found a table for {detail}. May I have a name for the reservation?",
        "I would be glad to book that. For how many people, and at what time?",
        detail=r"\bfor (\d+|two|three|four|five|six|seven|eight)\b",
    ),
    _intent(
        "flight train ticket airport hotel trip travel",
        "I have found three options for you. The earliest leaves at half past nine. "
        "Shall I book it?",
        "There are seats left tomorrow morning. Would you like a window or an aisle?",
    ),
    _intent(
        "appointment meeting calendar schedule doctor dentist",
        "You are free on {detail}. Shall I put it in your calendar?",
        "I have checked your calendar, and the afternoon is open. What time suits you best?",
        detail=r"\b(monday|tuesday|wednesday|thursday|friday|saturday|sunday|tomorrow)\b",
    ),
    _intent(
        "music song play playlist album volume radio jazz",
        "Okay, playing some {detail} for you now.",
        "Sure, here is something that I think you will like.",
        detail=r"\b(jazz|rock|classical|pop|piano|blues)\b",
    ),
    _intent(
        "door lock garage unlock window blinds",
        "The {detail} is closed and locked. You are all set.",
        "I have checked, and everything is closed.",
        detail=r"\b(front door|back door|garage door|door|window)\b",
    ),
    _intent(
        "balance account bank transfer payment bill card invoice refund",
        "I can help you with that. For your safety, please tell me the last four digits of your "
        "account number.",
        "Your last payment went through on Monday. Is there something else about your account?",
    ),
    _intent(
        "package parcel shipping delivered tracking",
        "Your package left the warehouse this morning. It should reach you tomorrow before noon.",
    ),
    _intent(
        "password login locked internet router connection printer",
        "Let us sort that out together. First, please turn it off, wait for ten seconds, and turn "
        "it on again.",
    ),
    _intent(
        "time clock hour date day",
        "It is a quarter past ten on Tuesday morning.",
        "It is just after ten. Your next appointment is at noon.",
    ),
    _intent(
        "news headlines",
        "Here is the short version: markets are calm, the weather stays mild, and the city opens "
        "its new library today.",
    ),
    _intent(
        "joke funny",
        "Why did the clock get a second helping? It wanted to go back four seconds.",
    ),
    _intent(
        "capital bridge mountain river invented wrote who where when why history",
        "That is a good question. The short answer is that it depends on whom you ask, but most "
        "books agree on the story you know.",
    ),
    _intent(
        "call text message email phone",
        "Sure, I will get that ready. What would you like to say?",
    ),
    _intent("thanks thank", "You are welcome. Just call me if there is anything else."),
    _intent(
        "hello hi hey morning evening afternoon",
        "Hello! It is good to hear from you. How can I help?",
        "Hi there. What can I do for you today?",
    ),
    _intent("bye goodbye night", "Goodbye, and have a lovely day."),
    _intent(
        "you your name who",
        "I am your assistant. I can set timers, look after the lights, and answer questions.",
    ),
)
_UNCLEAR: Final = (
    "I am not sure that I understood. Could you say it in other words?",
    "Let me make sure that I have this right. You said: {heard}. What should I do about it?",
)
_SILENT = "I did not hear anything. Could you say that again?"

_THOUGHTS: Final = (
    "The user wants something simple, so I should keep this short. ",
    "Let me check what was said and whether a detail is missing. ",
    "A spoken answer has to be easy to follow, without lists or symbols. ",
    "I will confirm the request and offer one next step. ",
)
_NONSENSE: Final = ("flom", "grendle", "izzit", "korpa", "mulvane", "quob", "snerrit", "trallow")

# A point ends no sentence within a number, nor after "a.m." and titles.
_SENTENCE = re.compile(
    r".+?(?:(?<!\b[a-z]\.[a-z])(?<!\b[dm]r)(?<!\bmrs)(?<!\bms)(?<!\bst)[.!?]+(?=\s|$)\s*|$)",
    re.IGNORECASE | re.DOTALL,
)
_PIECE = re.compile(r"\s*[A-Za-z]+|\s*\d{1,3}|\s*[^\sA-Za-z\d]")
_LONG = 7


def _choose(options: Sequence[str], key: str) -> str:
    digest = hashlib.sha256(key.encode()).digest()
    return options[int.from_bytes(digest[:4], "big") % len(options)]


def _text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"]
            for part in content
            if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return ""


def _answer(said: str) -> str:
    words = set(re.findall(r"[a-z']+", said.lower()))
    if not said.strip():
        return _SILENT
    for intent in _INTENTS:
        if not words & intent.words:
            continue
        found = re.search(intent.detail, said.lower()) if intent.detail else None
        detail = found.group(1).strip() if found else ""
        fitting = [reply for reply in intent.replies if ("{detail}" in reply) == bool(detail)]
        return _choose(fitting or intent.replies[-1:], said).replace("{detail}", detail)
    heard = " ".join(said.split()[:12]).rstrip(".!?")
    return _choose(_UNCLEAR, said).replace("{heard}", heard)


def _shorten(text: str, max_sentences: int) -> str:
    return "".join(_SENTENCE.findall(text)[:max_sentences]).strip()


def _tool_call(said: str, tools: Sequence[Any], choice: Any) -> ToolCall | None:
    """Return a call of the tool that the words ask for, or that the client insists on."""
    if choice == "none":
        return None
    functions = [
        tool["function"]
        for tool in tools
        if isinstance(tool, Mapping)
        and isinstance(tool.get("function"), Mapping)
        and isinstance(tool["function"].get("name"), str)
    ]
    if not functions:
        return None
    chosen: Any = choice.get("function") if isinstance(choice, Mapping) else None
    forced = chosen.get("name") if isinstance(chosen, Mapping) else None
    words = set(re.findall(r"[a-z]+", said.lower()))
    for function in functions:
        parts = set(re.split(r"[^a-z]+", function["name"].lower())) - {"get", "set", "do", "the"}
        if function["name"] == forced or (forced is None and words & parts):
            return _fill(function, said)
    return _fill(functions[0], said) if choice == "required" else None


def _fill(function: Mapping[str, Any], said: str) -> ToolCall:
    parameters = function.get("parameters")
    schema: Mapping[str, Any] = parameters if isinstance(parameters, Mapping) else {}
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        properties = {}
    required = schema.get("required", list(properties))
    names = required if isinstance(required, list) else []
    arguments = {name: _argument(properties[name], said) for name in names if name in properties}
    return ToolCall(name=function["name"], arguments=json.dumps(arguments))


def _argument(schema: Any, said: str) -> Any:
    if not isinstance(schema, Mapping):
        return said
    options = schema.get("enum")
    if isinstance(options, list) and options:
        mentioned = [option for option in options if str(option).lower() in said.lower()]
        return (mentioned or options)[0]
    kind = schema.get("type")
    number = re.search(r"\d+", said)
    if kind in ("integer", "number"):
        return int(number.group()) if number else 1
    if kind == "boolean":
        return True
    if kind == "array":
        return []
    if kind == "object":
        return {}
    capitalised = re.findall(r"(?<!^)\b[A-Z][a-z]+", said)
    return capitalised[0] if capitalised else said


def reply_to(
    messages: Sequence[Message],
    *,
    tools: Sequence[Any] = (),
    tool_choice: Any = None,
    max_sentences: int = 3,
) -> Reply:
    """Return the answer to a conversation in OpenAI's form.

    A last message of role ``tool`` is answered with its content. Otherwise the last user message
    decides, alone, whatever came before.
    """
    last = messages[-1] if messages else {}
    if last.get("role") == "tool":
        result = " ".join(_text_of(last).split())[:200] or "nothing"
        return Reply(text=_shorten(f"Here is what I found: {result}.", max_sentences))
    said = next(
        (_text_of(message) for message in reversed(messages) if message.get("role") == "user"), ""
    )
    call = _tool_call(said, tools, tool_choice)
    if call is not None:
        return Reply(text="", tool_call=call)
    return Reply(text=_shorten(_answer(said), max_sentences))


def tokens(text: str) -> tuple[str, ...]:
    """Split a text into pieces that join to the text again, each at most a few letters long."""
    pieces: list[str] = []
    end = 0
    for match in _PIECE.finditer(text):
        piece = match.group()
        end = match.end()
        if len(piece.strip()) > _LONG:
            pieces.extend((piece[: len(piece) - 4], piece[-4:]))
        else:
            pieces.append(piece)
    if end < len(text):
        pieces.append(text[end:])
    return tuple(pieces)


def reasoning_tokens(count: int) -> tuple[str, ...]:
    """Return `count` pieces of a monologue."""
    monologue = tokens("".join(_THOUGHTS))
    return tuple(monologue[index % len(monologue)] for index in range(count))


def nonsense(key: str, words: int = 12) -> str:
    """Return words that are none."""
    digest = hashlib.sha256(key.encode()).digest()
    return " ".join(_NONSENSE[digest[index % 32] % len(_NONSENSE)] for index in range(words)) + "."
