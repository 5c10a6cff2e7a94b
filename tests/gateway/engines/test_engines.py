"""The engines in their worker processes."""

import asyncio
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from harness.gateway.engines.formant import babble
from harness.gateway.engines.pcm import (
    HEARD_RATE,
    SPOKEN_RATE,
    first_audible,
    read_mono,
    window_dbfs,
)
from harness.gateway.engines.recogniser import (
    EmbeddedRecogniser,
    RecogniserPool,
    StableWords,
    embedded_recogniser_exists,
)
from harness.gateway.engines.synthesiser import Synthesiser
from harness.gateway.engines.worker import Worker, WorkerDied
from harness.gateway.profiles.distributions import Draws

_STARTER = Path(__file__).parents[3] / "datasets" / "starter" / "manifest.jsonl"
_DRAWS = Draws(seed=1, stage="stt", key="k")


class TestStableWords:
    def test_only_words_agreed_on_twice_are_settled(self) -> None:
        """A word counts once two successive hypotheses have it, and is never taken back."""
        words = StableWords()
        told = [
            words.update(text)
            for text in (
                "see",
                "set",
                "set a",
                "set a time",
                "set a timer for",
                "such a timer",
                "set a timer for ten",
                "set a timer for ten",
            )
        ]
        assert told == [
            "",
            "",
            "set",
            "set a",
            "set a",
            "set a",
            "set a",
            "set a timer for ten",
        ]


class TestFormant:
    def test_it_is_audible_and_as_long_as_speech(self) -> None:
        """About 14 letters a second, well above the floor, the same each time."""
        text = "The quick brown fox jumps over the lazy dog."
        samples = babble(text, pitch_hz=120, speed=1.0)
        assert len(samples) / SPOKEN_RATE == pytest.approx(len(text) / 14, rel=0.25)
        levels = window_dbfs(samples, SPOKEN_RATE // 100)
        assert np.mean(levels > -40) > 0.6
        assert np.array_equal(samples, babble(text, pitch_hz=120, speed=1.0))

    def test_speed_and_nothing(self) -> None:
        """Twice the speed is half the length; no letter is no sound."""
        slow, fast = (babble("hello there", pitch_hz=120, speed=speed) for speed in (1.0, 2.0))
        assert len(fast) == pytest.approx(len(slow) / 2, rel=0.01)
        assert len(babble("¡¿", pitch_hz=120, speed=1.0)) == 0


@pytest.mark.parametrize("allow_espeak", [True, False], ids=["espeak", "without"])
async def test_the_synthesiser_speaks(*, allow_espeak: bool) -> None:
    """With or without espeak-ng a text becomes audible speech after exactly the asked silence."""
    synthesiser = Synthesiser(allow_espeak=allow_espeak)
    await synthesiser.start()
    try:
        if not allow_espeak:
            assert synthesiser.engine == "formant"
        speech = await synthesiser.speak(
            "Hello there.", voice="nova", speed=1.0, container="pcm", lead=2400, rate=SPOKEN_RATE
        )
        again = await synthesiser.speak(
            "Hello there.", voice="nova", speed=1.0, container="pcm", lead=2400, rate=SPOKEN_RATE
        )
        strange = await synthesiser.speak(
            "\u200b<b>&\n漢字", voice="x", speed=4.0, container="mp3", lead=0, rate=SPOKEN_RATE
        )
    finally:
        await synthesiser.stop()
    samples = np.frombuffer(speech.data, dtype="<i2")
    assert again is speech
    assert 0.4 < speech.samples / SPOKEN_RATE < 2.5
    assert speech.audible == first_audible(samples, SPOKEN_RATE) == 2400
    assert strange.engine == synthesiser.engine


async def test_a_worker_that_dies_is_replaced() -> None:
    """Who waits for a dead worker is told; the next question starts another."""
    worker = Worker("harness.gateway.engines.synthesiser_worker", "--without-espeak")
    try:
        await worker.ask({"op": "ready"})
        process = worker._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        question = asyncio.create_task(worker.ask({"op": "ready"}))
        await asyncio.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await question
        header, _ = await worker.ask({"op": "ready"})
        assert header["engine"] == "formant"
    finally:
        await worker.stop()


@pytest.mark.skipif(not embedded_recogniser_exists(), reason="pocketsphinx is not installed")
@pytest.mark.skipif(not _STARTER.exists(), reason="the starter dataset is not here")
class TestEmbeddedRecogniser:
    async def test_it_hears_the_starter_recordings(self) -> None:
        """Of the words of six recordings the recogniser gets most right, and keeps its CMN."""
        pool = RecogniserPool(1)
        await pool.start()
        session = EmbeddedRecogniser(pool)
        right = total = 0
        try:
            for line in _STARTER.read_text(encoding="utf-8").splitlines()[:6]:
                record = json.loads(line)
                samples = read_mono(_STARTER.parent / record["audio"], HEARD_RATE)
                hearing = session.listen()
                for start in range(0, len(samples), 320):
                    hearing.feed(samples[start : start + 320].tobytes())
                heard = (await hearing.finish(_DRAWS)).text.split()
                wanted = record["text_norm"].split()
                total += len(wanted)
                right += len(set(wanted) & set(heard)) * len(wanted) // len(set(wanted))
        finally:
            await pool.stop()
        assert session.cmn
        assert right / total > 0.7

    async def test_utterances_wait_for_a_free_worker(self) -> None:
        """More utterances than workers are all heard, abandoned ones free their worker."""
        record = json.loads(_STARTER.read_text(encoding="utf-8").splitlines()[0])
        data = read_mono(_STARTER.parent / record["audio"], HEARD_RATE).tobytes()
        pool = RecogniserPool(1, most=2)
        await pool.start()
        try:
            hearings = [EmbeddedRecogniser(pool).listen() for _ in range(4)]
            for hearing in hearings:
                hearing.feed(data)
            hearings[0].abandon()
            texts = [
                recognition.text
                for recognition in await asyncio.gather(
                    *(hearing.finish(_DRAWS) for hearing in hearings[1:])
                )
            ]
        finally:
            await pool.stop()
        assert len(set(texts)) == 1
        assert "minutes" in texts[0]
