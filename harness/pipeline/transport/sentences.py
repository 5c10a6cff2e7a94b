"""Which tokens a text waited for before it was handed to a TTS.

Where a sentence was completed by a certain token, it is the text that tells which token it was,
never "the last one before"; otherwise a pause between two steps would pass for the provider's.
"""

from harness.domain.request import Wait, WaitCause
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import Call, Exchange, Node, Recorder, Stamp
from harness.pipeline.transport.bodies import ChatBody
from harness.pipeline.transport.socket_reading import sent_at
from harness.pipeline.transport.transforms import replay, unheld

__all__ = ["handed", "sentence_received", "source_of"]


def _squeezed(text: str) -> int:
    return len("".join(text.split()))


def source_of(call: Call, llm_calls: list[Call]) -> Call | None:
    """Find the LLM call whose answer this text is part of."""
    if call.node is None:
        return None
    wanted = "".join("".join(text for _, text in call.node.pieces).split())
    for candidate in reversed(llm_calls):
        if candidate.node is None or candidate.opened.ns > call.opened.ns:
            continue
        said = "".join("".join(text for _, text in candidate.node.pieces).split())
        if said and (said.startswith(wanted[:40]) or wanted.startswith(said[:40])):
            return candidate
    earlier = [each for each in llm_calls if each.opened.ns <= call.opened.ns]
    return earlier[-1] if earlier else None


def sentence_received(
    recorder: Recorder,
    body: ChatBody | None,
    call: Call,
    source: Call,
    *,
    text: str,
    streamed_before: int,
) -> tuple[Stamp | None, tuple[Wait, ...]]:
    """Return when the bytes arrived that let this text go, and what the agent held it back for.

    A sentence goes when text follows it, or when the reply ends. The piece that brought it is
    found by counting characters other than spaces.

    Args:
        recorder: the trial's.
        body: of the exchange that the text is from, where it was read.
        call: the TTS call.
        source: the LLM call that the text is from.
        text: the call's text.
        streamed_before: of a stream, how many characters were not yet enough.
    """
    node = call.node
    if node is None or body is None or not node.pieces or source.node is None:
        return None, ()
    # Only the first text of the reply: earlier sentences of the same node come before it.
    before = sum(
        _squeezed(each.text)
        for each in recorder.calls
        if each.stage is Stage.TTS and each.node is node and each.index < call.index
    )
    needed = before + (_squeezed(text) if not call.pieces else streamed_before)
    trigger = _first_beyond(node.pieces, needed)
    deltas = [delta for delta in body.deltas if delta.text]
    # A reply's end is told by [DONE], or by the finish reason.
    ended = body.done_at or body.finish_at or (deltas[-1].at if deltas else None)
    if trigger is None:
        return ended, ()
    piece_at, count = trigger
    through = _through_filters(recorder.text_transforms, node, source.node, needed)
    arrived = [delta.at for delta in deltas]
    if through is not None and len(arrived) == len(_texts(source.node)):
        free, released = through
        at = arrived[released] if released < len(arrived) else ended
        if at is None or arrived[free].ns >= at.ns:
            return at, ()
        held = Wait(cause=WaitCause.TRANSFORMS, start_ns=arrived[free].ns, end_ns=at.ns)
        return at, (held,)
    total = 0
    for delta in deltas:
        total += _squeezed(delta.text)
        if total >= count:
            # An agent's own filters may hold text back until a later token: then it is the
            # last delta that the agent had before the piece came out.
            had = [at for at in arrived if at.ns <= piece_at.ns]
            if len(_texts(source.node)) == len(arrived) and _filtered(node, source.node):
                return (had[-1] if had else delta.at), ()
            return delta.at, ()
    return None, ()


def _through_filters(
    transforms: tuple[str, ...] | None, tts_node: Node, llm_node: Node, needed: int
) -> tuple[int, int] | None:
    """Return which piece of the reply held more than the needed text, and which let it go.

    None where the filters are not livekit's own, or do not explain what the TTS was given.

    Args:
        transforms: livekit's filters that the agent uses, by name.
        tts_node: was given what the filters let go.
        llm_node: gave the pieces that went in.
        needed: how many characters other than spaces do not yet let the text go.
    """
    if not transforms:
        return None
    pieces = _texts(llm_node)
    again = [each for each in replay(pieces, transforms) or () if each[0]]
    given = _texts(tts_node)
    if [text for text, _ in again[: len(given)]] != given:
        return None
    total = 0
    for text, index in again:
        total += _squeezed(text)
        if total > needed:
            free = unheld(pieces, transforms, needed)
            return None if free is None else (free, index)
    return None


def handed(call: Call, exchange: Exchange | None) -> tuple[Stamp, int]:
    """Return when the TTS client had the text of its first request.

    Also how many characters other than spaces it had been given before and had not sufficed. A
    client that takes text as it comes may itself wait for a whole sentence, and a server may: that
    wait is for the LLM, and no part of the synthesis.
    """
    if not call.pieces:
        return call.opened, 0
    if exchange is None or exchange.dialect is None:
        return call.pieces[0][0], 0
    trigger = exchange.dialect.trigger([text for _, text in call.pieces])
    sent = sent_at(exchange)
    if sent is not None and (trigger is None or call.pieces[trigger][0].ns > sent.ns):
        # The client did not wait for what it is known to wait for.
        given = [number for number, (at, _) in enumerate(call.pieces) if at.ns <= sent.ns]
        ended = None if call.node is None else call.node.input_ended
        if given and (trigger is not None or (ended is not None and ended.ns > sent.ns)):
            trigger = given[-1]
    if trigger is not None:
        before = sum(_squeezed(text) for _, text in call.pieces[:trigger])
        return call.pieces[trigger][0], before
    whole = sum(_squeezed(text) for _, text in call.pieces)
    node = call.node
    if node is not None and node.input_ended is not None:
        return node.input_ended, whole
    return call.pieces[-1][0], whole


def _texts(node: Node) -> list[str]:
    return [text for _, text in node.pieces if text]


def _filtered(tts_node: Node, llm_node: Node) -> bool:
    return [text for _, text in tts_node.pieces] != [text for _, text in llm_node.pieces]


def _first_beyond(pieces: list[tuple[Stamp, str]], needed: int) -> tuple[Stamp, int] | None:
    total = 0
    for at, text in pieces:
        total += _squeezed(text)
        if total > needed:
            return at, total
    return None
