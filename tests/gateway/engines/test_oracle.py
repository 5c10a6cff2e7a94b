"""The oracle: what it recognises and how it errs."""

import math
import random
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.engines.fingerprint import BandIndex, ExactIndex
from harness.gateway.engines.oracle import Oracle, OracleSession, corrupt, word_places
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from harness.gateway.engines.utterances import read_utterances
from harness.gateway.profiles.distributions import Draws
from tests.gateway.spoken import TEXTS, murmur, silence

_RECORDINGS = [murmur(number, text) for number, text in enumerate(TEXTS)]


def _through_telephone(samples: Samples) -> Samples:
    narrow = soxr.resample(samples.astype(np.float64), HEARD_RATE, 8000)
    return np.asarray(soxr.resample(narrow, 8000, HEARD_RATE), dtype=np.int16)


def _with_noise(samples: Samples) -> Samples:
    level = float(np.sqrt(np.mean(samples.astype(float) ** 2)))
    noise = np.random.default_rng(3).normal(0, level / 10, len(samples))
    return np.clip(samples + noise, -32768, 32767).astype(np.int16)


class TestExact:
    def test_bit_exact_audio_is_found_with_its_offset(self) -> None:
        """Audio cut from a recording names the recording and the place it was cut from."""
        index = ExactIndex(_RECORDINGS)
        for number, samples in enumerate(_RECORDINGS):
            match = index.find(np.concatenate((silence(0.3), samples[4000:], silence(0.5))))
            assert match is not None
            assert (match.utterance, match.offset) == (number, 4000 - 4800)

    def test_other_audio_is_not_found(self) -> None:
        """Neither silence nor noise nor a quieter copy is bit-exact."""
        index = ExactIndex(_RECORDINGS)
        noise = np.random.default_rng(1).normal(0, 3000, 16000).astype(np.int16)
        for audio in (silence(1), noise, (_RECORDINGS[0] // 2).astype(np.int16), silence(0)):
            assert index.find(audio) is None


class TestBands:
    @pytest.mark.parametrize("change", [_through_telephone, _with_noise])
    def test_changed_audio_is_found(self, change: object) -> None:
        """A recording is recognised through a telephone's bandwidth and at 20 dB of noise."""
        assert callable(change)
        index = BandIndex(_RECORDINGS)
        for number, samples in enumerate(_RECORDINGS):
            match = index.find(change(np.concatenate((silence(0.31), samples))))
            assert match is not None
            assert match.utterance == number
            assert match.offset == pytest.approx(-4960, abs=320)

    @pytest.mark.parametrize("order", [1, -1], ids=["whole-first", "cut-first"])
    def test_of_like_recordings_the_one_that_holds_more_is_found(self, order: int) -> None:
        """A copy that was cut short does not stand for the whole, as like as it is."""
        whole = _RECORDINGS[0]
        copies = [whole, whole[: len(whole) * 7 // 10]][::order]
        match = BandIndex(copies).find(_through_telephone(np.concatenate((silence(0.3), whole))))
        assert match is not None
        assert len(copies[match.utterance]) == len(whole)

    def test_noise_and_silence_are_like_nothing(self) -> None:
        """What is no recording is not taken for one."""
        index = BandIndex(_RECORDINGS)
        noise = np.random.default_rng(1).normal(0, 3000, 32000).astype(np.int16)
        for audio in (noise, silence(2), silence(0)):
            assert index.find(audio) is None


class TestCorruption:
    @pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
    def test_the_error_rate_is_the_stated_one(self, rate: float) -> None:
        """Over 6000 words the edits lie within four standard errors of the rate."""
        words = 6000
        text = " ".join(f"word{number}" for number in range(words))
        made = corrupt(text, rate, random.Random(11))
        edits = made.substitutions + made.deletions + made.insertions
        assert edits / words == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / words))
        assert made.substitutions > made.deletions > made.insertions

    def test_a_measured_error_rate_agrees(self) -> None:
        """The rate that jiwer measures is that of the edits, save for pairs that meet."""
        text = " ".join(f"word{number}" for number in range(3000))
        made = corrupt(text, 0.1, random.Random(4))
        edits = made.substitutions + made.deletions + made.insertions
        assert jiwer.wer(text, made.text) * 3000 <= edits
        assert jiwer.wer(text, made.text) * 3000 == pytest.approx(edits, rel=0.05)

    @given(st.text(), st.integers(0, 1000))
    def test_at_rate_zero_nothing_changes(self, text: str, seed: int) -> None:
        """An oracle that never errs gives each word as it is."""
        assert corrupt(text, 0.0, random.Random(seed)).text == " ".join(text.split())

    @given(st.lists(st.sampled_from(["banana", "Lemon,", "go"]), min_size=1), st.integers(0, 99))
    def test_at_rate_one_no_word_stays_alone(self, words: list[str], seed: int) -> None:
        """Every word is edited: a substitution is never the word itself."""
        made = corrupt(" ".join(words), 1.0, random.Random(seed))
        assert made.substitutions + made.deletions + made.insertions == len(words)
        assert len(made.text.split()) == len(words) - made.deletions + made.insertions


class TestSession:
    def _draws(self, key: str) -> Draws:
        return Draws(seed=1, stage="stt", key=key)

    async def test_the_text_of_a_recording_is_heard(self, manifest: Path) -> None:
        """Audio of a known utterance gives its text, and the truth its name."""
        oracle = Oracle(read_utterances(manifest), None)
        for number, text in enumerate(TEXTS):
            hearing = OracleSession(oracle, 0.0).listen()
            hearing.feed(_RECORDINGS[number].tobytes())
            recognition = await hearing.finish(self._draws("a"))
            assert recognition.text == text
            assert recognition.detail is not None
            assert f'"u{number}"' in recognition.detail

    async def test_interims_grow_to_the_text(self, manifest: Path) -> None:
        """The hypothesis only grows while the recording is heard, and ends as the text."""
        oracle = Oracle(read_utterances(manifest), None)
        hearing = OracleSession(oracle, 0.0).listen()
        heard = [""]
        data = _RECORDINGS[1].tobytes()
        for start in range(0, len(data), 640):
            hearing.feed(data[start : start + 640])
            heard.append(hearing.hypothesis())
        assert heard[-1] == TEXTS[1]
        assert all(now.startswith(before) for before, now in pairwise(heard))
        assert len(set(heard)) > 4

    async def test_a_recording_cut_at_a_pause_loses_no_word(self, manifest: Path) -> None:
        """Pieces of one recording give its words once each, and a repetition gives them again."""
        oracle = Oracle(read_utterances(manifest), None)
        session = OracleSession(oracle, 0.0)
        whole = _RECORDINGS[1]
        for cut in (15000, 21111, 30000):
            texts = []
            # Between the pieces a pause falls into neither.
            for piece in (whole[: cut - 1500], whole[cut + 1500 :], whole):
                hearing = session.listen()
                hearing.feed(piece.tobytes())
                texts.append((await hearing.finish(self._draws("a"))).text)
            assert " ".join(texts[:2]) == texts[2] == TEXTS[1]

    async def test_a_repetition_that_is_heard_longer_is_no_continuation(
        self, manifest: Path
    ) -> None:
        """The same recording again, cut a little later, gives all its words again."""
        session = OracleSession(Oracle(read_utterances(manifest), None), 0.0)
        whole = _RECORDINGS[1]
        for end in (len(whole) - 1600, len(whole) - 800, len(whole)):
            hearing = session.listen()
            hearing.feed(whole[320:end].tobytes())
            assert (await hearing.finish(self._draws("a"))).text == TEXTS[1]

    async def test_unknown_audio_gives_no_word(self, manifest: Path) -> None:
        """An oracle does not guess."""
        oracle = Oracle(read_utterances(manifest), None)
        hearing = OracleSession(oracle, 0.0).listen()
        hearing.feed(murmur(9, "something else entirely").tobytes())
        recognition = await hearing.finish(self._draws("a"))
        assert recognition.text == ""
        assert recognition.detail == '{"utterance": null}'

    async def test_errors_are_seeded(self, manifest: Path) -> None:
        """The same request errs in the same words, another in others."""
        oracle = Oracle(read_utterances(manifest), None)
        texts = []
        for key in ("a", "a", "b"):
            hearing = OracleSession(oracle, 0.9).listen()
            hearing.feed(_RECORDINGS[1].tobytes())
            texts.append((await hearing.finish(self._draws(key))).text)
        assert texts[0] == texts[1] != texts[2]


def test_words_are_placed_in_order(manifest: Path) -> None:
    """Places of words follow each other within the recording."""
    for known in read_utterances(manifest):
        places = word_places(known)
        assert [word for word, _, _ in places] == known.text.split()
        edges = [edge for _, start, stop in places for edge in (start, stop)]
        assert edges == sorted(edges)
        assert edges[-1] <= len(known.samples)
