"""Real recordings of six languages, scored and put under conditions (TURNBENCH_SPEECH)."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.words.transcript import Score, score, unit_of
from harness.domain.condition import Condition, PacketLoss, Telephony
from harness.domain.driver import PlayableUtterance
from harness.domain.utterance import Utterance
from harness.store.datasets.audio import load_audio, to_pipeline
from harness.store.datasets.conditions import apply_condition, read_noises
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.datasets.speech_bounds import SpeechBounds, estimate_bounds

FOLDER = os.environ.get("TURNBENCH_SPEECH")
pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(FOLDER is None, reason="TURNBENCH_SPEECH names no folder of recordings"),
]
SPEECH = Path(FOLDER or ".")


def utterances() -> tuple[Utterance, ...]:
    """Return the development set."""
    return read_dataset(SPEECH / "dev").utterances


def errors(reference: str, heard: str, language: str) -> int:
    """Return the errors of a transcript."""
    found = score(reference, heard, language)
    assert isinstance(found, Score)
    return found.errors


def test_six_languages_are_there() -> None:
    """The recordings hold English, German, French, Spanish, Japanese and Mandarin."""
    assert set(Counter(each.language.split("-")[0] for each in utterances())) >= {
        "en", "de", "fr", "es", "ja", "zh",
    }  # fmt: skip


def test_the_source_and_its_normal_form_agree() -> None:
    """The text as its source writes it and in words as spoken are one, in every language."""
    differing = {
        each.id
        for each in utterances()
        if each.text is not None and errors(each.tags["text_norm"], each.text, each.language)
    }
    # "Nevermind" and "y'know", which the normal form writes as two words each.
    assert differing <= {"cmd_08_nevermind", "spont_mfa_acoustic"}


def test_variants_of_writing_are_no_errors() -> None:
    """Case, punctuation and composition of a transcript do not count; a lost word or sign does."""
    for each in utterances():
        if each.text is None:
            continue
        reference = each.tags["text_norm"]
        for variant in (
            reference.upper(),
            f"  {reference}. ",
            unicodedata.normalize("NFD", reference),
            reference.replace(" ", "\u00a0"),
        ):
            # German has no capital for every ß, and case folding knows it.
            assert errors(reference, variant, each.language) == 0, (each.id, variant)
        cut = reference[1:] if unit_of(each.language) == "character" else reference.split(" ", 1)[1]
        assert errors(reference, cut, each.language) >= 1


def playable(each: Utterance, folder: Path) -> PlayableUtterance:
    """Decode an utterance."""
    audio = load_audio(folder, channel=each.channel)
    return PlayableUtterance(
        utterance=each,
        pcm=to_pipeline(audio).astype("<i2").tobytes(),
        speech_start_ns=each.speech_start_ns,
        speech_end_ns=each.speech_end_ns,
    )


def test_conditions_keep_real_speech_where_it_is() -> None:
    """On a telephone with lost packets and after silence, energy finds speech at the new bounds."""
    dataset = read_dataset(SPEECH / "dev")
    condition = Condition(
        name="call",
        telephony=Telephony.ALAW,
        packet_loss=PacketLoss(share=0.02, burst=1.5),
        lead_silence_s=0.8,
        trail_silence_s=0.4,
    )
    gaps = []
    for each in dataset.utterances[::3]:
        clean = playable(each, audio_path(dataset, each))
        heard = apply_condition(clean, condition, {})
        before = estimate_bounds(np.frombuffer(clean.pcm, dtype="<i2"), 16_000)
        after = estimate_bounds(np.frombuffer(heard.pcm, dtype="<i2"), 16_000)
        if isinstance(before, SpeechBounds) and isinstance(after, SpeechBounds):
            gaps.append(after.start_s - 0.8 - before.start_s)
    assert len(gaps) >= 15
    assert abs(float(np.median(gaps))) < 0.03


def test_real_noise_has_its_level() -> None:
    """Babble and an engine lie as far below each utterance as asked, over their own length."""
    dataset = read_dataset(SPEECH / "dev")
    for name in ("people_talking_babble.wav", "engine_idling.wav"):
        path = str(SPEECH / "noise" / name)
        condition = Condition(name=name, noise=path, snr_db=10)
        noises = read_noises((condition,))
        found = []
        for each in dataset.utterances[::4]:
            clean = playable(each, audio_path(dataset, each))
            heard = apply_condition(clean, condition, noises)
            one, two = (
                np.frombuffer(x.pcm, dtype="<i2").astype(np.float64) for x in (clean, heard)
            )
            assert clean.speech_start_ns is not None
            assert clean.speech_end_ns is not None
            first, last = clean.speech_start_ns // 62_500, clean.speech_end_ns // 62_500
            found.append(10 * np.log10(np.mean(one[first:last] ** 2) / np.mean((two - one) ** 2)))
        assert float(np.median(found)) == pytest.approx(10, abs=1.5)
