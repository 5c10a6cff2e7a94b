"""The critical path of a turn: what had to happen, one after the other, before the reply was heard.

The walk goes back from the first audible sample. At each mark it asks which earlier mark this one
had to wait for; where it waited for two, the later one lies on the path and what led to the other
was hidden behind it. With preemptive generation, for one, the commit may come after the first
sentence: then the LLM is hidden, and no millisecond of the response is its fault.

A mark that was not recorded is stepped over: its two edges become one, which is the provider's if
either was. A mark later than its successor cannot have caused it and is stepped over as well, so a
path never goes back in time.
"""

from dataclasses import dataclass, field

from harness.analysis.turn.edges import EDGES, Edge, Leg, Node
from harness.analysis.turn.measurement import Missing
from harness.domain.request import Cause, Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn

__all__ = ["critical_path"]


@dataclass(slots=True)
class _Walk:
    """The way back so far."""

    here: Node
    legs: list[Leg] = field(default_factory=list)
    pending: list[Edge] = field(default_factory=list)

    def step(self, name: str, to: Node | None) -> None:
        """Go back over an edge; over the next one too where the mark is of no use."""
        self.pending.append(EDGES[name])
        if to is None or to.at_ns > self.here.at_ns:
            return
        self.legs.append(Leg(edge=_merged(self.pending), start=to, end=self.here))
        self.here, self.pending = to, []


def _merged(backwards: list[Edge]) -> Edge:
    """Return one edge for several: the first provider's, or the first, with the waits of all."""
    if len(backwards) == 1:
        return backwards[0]
    forwards = backwards[::-1]
    first = next((edge for edge in forwards if edge.kind == "provider"), forwards[0])
    return Edge(
        name=first.name,
        title=first.title,
        stage=first.stage,
        kind=first.kind,
        waits=frozenset().union(*(edge.waits for edge in forwards)),
    )


def critical_path(turn: Turn) -> tuple[Leg, ...] | Missing:
    """Return the legs from at or before the end of speech to the first audible sample.

    The legs are contiguous. The first may begin before the end of speech: the LLM may have been
    asked on a transcript of half the utterance.
    """
    speech_end, audible = turn.marks.get(Mark.SPEECH_END), turn.marks.get(Mark.FIRST_AUDIBLE)
    if speech_end is None:
        return Missing(reason="no speech_end")
    if any(request.cause is Cause.FIXED for request in turn.requests):
        return Missing(reason="the stages were measured alone")
    if audible is None:
        return Missing(reason="no first_audible")
    if audible < speech_end:
        return Missing(reason="answered before the end of speech")
    tts, llm = _behind(turn)
    walk = _Walk(
        here=Node(mark=Mark.FIRST_AUDIBLE, at_ns=audible, work=turn.work.get(Mark.FIRST_AUDIBLE))
    )
    walk.step("audible", _of_turn(turn, Mark.PLAYOUT_START))
    frame = _node(Mark.TTS_FIRST_FRAME, tts, turn)
    commit = _of_turn(turn, Mark.TURN_COMMITTED)
    if _gates(commit, frame, walk.here):
        # Synthesised before the commit: the reply was ready and waited for it.
        walk.step("release", commit)
        _before_commit(walk, turn)
    else:
        _before_frame(walk, turn, tts, llm, frame)
    return tuple(reversed(walk.legs))


def _behind(turn: Turn) -> tuple[Request | None, Request | None]:
    """Return the TTS and the LLM request behind the first audible sample."""
    chain = turn.chain()
    tts = next((each for each in chain if each.stage is Stage.TTS), None)
    llm = next((each for each in chain if each.stage is Stage.LLM), None)
    if llm is None:
        kept = (each for each in turn.requests if each.stage is Stage.LLM and not each.cancelled)
        llm = next(kept, None)
    return tts, llm


def _own(mark: Mark, request: Request | None) -> Node | None:
    if request is None or mark not in request.marks:
        return None
    return Node(mark=mark, at_ns=request.marks[mark], work=request.work.get(mark))


def _of_turn(turn: Turn, mark: Mark) -> Node | None:
    """Return a mark of the turn, or of its STT request."""
    if mark in turn.marks:
        return Node(mark=mark, at_ns=turn.marks[mark], work=turn.work.get(mark))
    for request in turn.requests:
        if request.stage is Stage.STT and not request.cancelled and mark in request.marks:
            return _own(mark, request)
    return None


def _node(mark: Mark, request: Request | None, turn: Turn) -> Node | None:
    return _own(mark, request) or _of_turn(turn, mark)


def _gates(commit: Node | None, natural: Node | None, here: Node) -> bool:
    """Tell whether ``here`` waited for the commit rather than for its natural predecessor."""
    return commit is not None and natural is not None and natural.at_ns < commit.at_ns <= here.at_ns


def _before_frame(
    walk: _Walk, turn: Turn, tts: Request | None, llm: Request | None, frame: Node | None
) -> None:
    walk.step("output", frame)
    walk.step("decode", _node(Mark.TTS_FRAME_RECEIVED, tts, turn))
    walk.step("tts_pacing", _node(Mark.TTS_FIRST_BYTE, tts, turn))
    walk.step("tts", _node(Mark.TTS_SENT, tts, turn))
    walk.step("tts_send", _node(Mark.TTS_REQUEST, tts, turn))
    first = _first_attempt(tts, turn)
    if first is not None and first is not tts:
        walk.step("tts_failed", _own(Mark.TTS_REQUEST, first))
    sentence = _own(Mark.LLM_FIRST_SENTENCE, tts) or _node(Mark.LLM_FIRST_SENTENCE, llm, turn)
    walk.step("tts_prepare", sentence)
    commit = _of_turn(turn, Mark.TURN_COMMITTED)
    if _gates(commit, _ready(walk.here, turn, tts, llm), walk.here):
        walk.step("release", commit)
        _before_commit(walk, turn)
        return
    received = _sentence(turn, tts, llm)
    if received is not None:
        walk.step("gather", received)
        walk.step("sentence", _node(Mark.LLM_TEXT_RECEIVED, llm, turn))
    else:
        walk.step("sentence", _node(Mark.LLM_FIRST_TEXT, llm, turn))
        walk.step("llm_client", _node(Mark.LLM_TEXT_RECEIVED, llm, turn))
    _before_text(walk, turn, llm)


def _sentence(turn: Turn, tts: Request | None, llm: Request | None) -> Node | None:
    """Return the arrival of the text that the TTS was asked with, which either may have noted."""
    return _own(Mark.SENTENCE_RECEIVED, tts) or _node(Mark.SENTENCE_RECEIVED, llm, turn)


def _ready(here: Node, turn: Turn, tts: Request | None, llm: Request | None) -> Node | None:
    """Return the mark at which the first sentence was there, but for the commit."""
    received = _sentence(turn, tts, llm)
    if received is not None:
        return received
    found = [
        node
        for mark in (Mark.LLM_REQUEST, Mark.LLM_TEXT_RECEIVED, Mark.LLM_FIRST_TEXT)
        if (node := _node(mark, llm, turn)) is not None and node.at_ns <= here.at_ns
    ]
    return max(found, key=lambda node: node.at_ns, default=None)


def _first_attempt(request: Request | None, turn: Turn) -> Request | None:
    """Return the first of the attempts that ended in this request."""
    seen: set[str] = set()
    while request is not None and request.cause is Cause.RETRY and request.id not in seen:
        seen.add(request.id)
        parent = turn.request(request.parent)
        if parent is None or parent.stage is not request.stage:
            break
        request = parent
    return request


def _before_text(
    walk: _Walk,
    turn: Turn,
    llm: Request | None,
    prefix: str = "",
    seen: frozenset[str] = frozenset(),
) -> None:
    """Go back from the first text of an LLM request through what led to it."""
    # A tool's request shares nothing with the turn's own marks: those are the reply's.
    source = turn if prefix == "" else None

    def node(mark: Mark, request: Request | None = llm) -> Node | None:
        return _own(mark, request) or (None if source is None else _of_turn(source, mark))

    reasoning = node(Mark.LLM_FIRST_REASONING)
    if reasoning is not None:
        walk.step(f"{prefix}llm_reasoning", reasoning)
    walk.step(f"{prefix}llm", node(Mark.LLM_SENT))
    walk.step(f"{prefix}llm_send", node(Mark.LLM_REQUEST))
    first = _first_attempt(llm, turn)
    if first is not None and first is not llm:
        walk.step("llm_failed", _own(Mark.LLM_REQUEST, first))
    cause = None if first is None else first.cause
    commit = _of_turn(turn, Mark.TURN_COMMITTED)
    if first is not None and cause is Cause.TOOL and first.id not in seen:
        caller = turn.request(first.parent)
        ended = _last_of(caller)
        if _gates(commit, ended, walk.here):
            walk.step("around_tool", commit)
            _before_commit(walk, turn)
            return
        walk.step("around_tool", ended)
        walk.step("tool_llm_rest", _own(Mark.LLM_TEXT_RECEIVED, caller))
        _before_text(walk, turn, caller, "tool_", seen | {first.id})
        return
    if cause is Cause.PREEMPTIVE:
        walk.step(f"{prefix}llm_prepare", _transcript(walk, turn))
        if walk.here.mark is Mark.TRANSCRIPT_FINAL:
            _before_final(walk, turn)
        else:
            _before_transcript(walk, turn)
        return
    walk.step(f"{prefix}llm_prepare", commit)
    _before_commit(walk, turn)


def _last_of(request: Request | None) -> Node | None:
    """Return the end of an LLM request's text, or the latest thing seen of it."""
    if request is None or not request.marks:
        return None
    ended = _own(Mark.LLM_END, request)
    if ended is not None:
        return ended
    return _own(max(request.marks, key=lambda mark: request.marks[mark]), request)


def _before_commit(walk: _Walk, turn: Turn) -> None:
    final, vad = _of_turn(turn, Mark.TRANSCRIPT_FINAL), _of_turn(turn, Mark.VAD_END)
    if vad is not None and vad.at_ns > walk.here.at_ns:
        vad = None
    if vad is not None and (final is None or vad.at_ns > final.at_ns):
        walk.step("commit", vad)
        walk.step("vad", _of_turn(turn, Mark.SPEECH_END))
        return
    walk.step("commit", final)
    _before_final(walk, turn)


def _before_final(walk: _Walk, turn: Turn) -> None:
    walk.step("stt_client", _of_turn(turn, Mark.FINAL_RECEIVED))
    walk.step("stt", _of_turn(turn, Mark.SPEECH_SENT))
    walk.step("speech_send", _of_turn(turn, Mark.SPEECH_END))


def _transcript(walk: _Walk, turn: Turn) -> Node | None:
    """Return the latest transcript at or before the instant reached."""
    final = _of_turn(turn, Mark.TRANSCRIPT_FINAL)
    instants = [each.at_ns for each in turn.transcripts if each.at_ns <= walk.here.at_ns]
    if final is not None and max(instants, default=final.at_ns) <= final.at_ns <= walk.here.at_ns:
        return final
    if not instants:
        return None
    return Node(mark=Mark.TRANSCRIPT_FIRST, at_ns=max(instants), work=None)


def _before_transcript(walk: _Walk, turn: Turn) -> None:
    received = next(
        (each.received_ns for each in turn.transcripts if each.at_ns == walk.here.at_ns), None
    )
    node = None if received is None else Node(mark=Mark.FINAL_RECEIVED, at_ns=received, work=None)
    walk.step("stt_client", node)
    walk.step("stt", _of_turn(turn, Mark.SPEECH_SENT))
    walk.step("speech_send", _of_turn(turn, Mark.SPEECH_END))
