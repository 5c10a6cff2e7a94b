# noqa: INP001 - a recipe, run by hand; it belongs to the recordings, not to the package
"""Make the recordings of ``datasets/starter``, ``interruptions`` and ``silence`` again.

    python datasets/make_starter.py            # write the folders
    python datasets/make_starter.py --check    # make them in memory, compare with what is there

Needs numpy, soundfile and flite 2.2 (Debian and Ubuntu: ``apt install flite``), with its voices
kal16, slt and rms. Everything else is arithmetic without a random source of the machine, so the
samples come out equal bit by bit; the FLAC files too, where libFLAC is the same.

What is done to each sentence:

1. flite speaks it at 16 kHz.
2. Speech starts with the first and ends with the last window of 10 ms (every 5 ms) whose RMS is
   above -40 dB of the sentence's own peak. What lies outside, flite's pauses and the faint ringing
   of its filters, is cut off with a fade of 5 ms. So the bounds are exact: no speech exists outside
   them. (They agree with flite's own phone labels; a rule at -50 dB would find its ringing.)
3. The peak is set to -3 dBFS.
4. 0.3 s of silence go before, 0.4, 0.5 or 0.6 s after it.
5. Noise of a quiet room (about -75 dBFS, low-passed) is added to the whole, since digital silence
   is something that no microphone gives.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
RATE = 16_000
LEAD_S = 0.3
TRAILS_S = (0.4, 0.5, 0.6)
PEAK = 10 ** (-3 / 20)
AUDIBLE = 10 ** (-40 / 20)
WINDOW = RATE // 100
HOP = RATE // 200
ROOM = 10 ** (-75 / 20)
LICENCE = "Apache-2.0 (spoken by flite's voices, under the CMU Flite licence)"
# One window: where within it the sound becomes audible is not looked for.
TOLERANCE_MS = 10

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.int16]


class Sentence(NamedTuple):
    """One sentence to be spoken: its id, voice, kind, and the text as one would write it."""

    id: str
    voice: str
    kind: str
    text: str


SENTENCES = (
    Sentence("timer", "kal16", "command", "Set a timer for ten minutes."),
    Sentence("volume", "kal16", "command", "Turn the volume down to twenty percent."),
    Sentence(
        "order",
        "kal16",
        "request",
        "I ordered a new phone last week but it has not arrived yet"
        " and I would like to know where it is.",
    ),
    Sentence("savings", "kal16", "question", "How much money do I have in my savings account?"),
    Sentence("phone", "kal16", "number", "My phone number is five five five one two one two."),
    Sentence(
        "restaurant", "kal16", "question", "Is there a good Italian restaurant near the hotel?"
    ),
    Sentence("christmas", "kal16", "question", "How many days are left until Christmas?"),
    Sentence("kitchen", "kal16", "command", "Turn off the kitchen lights."),
    Sentence("clock", "slt", "question", "What time is it?"),
    Sentence("yes", "slt", "phrase", "Yes please."),
    Sentence("weather", "slt", "question", "What is the weather like in Boston tomorrow?"),
    Sentence("alarm", "slt", "command", "Wake me up at six o'clock."),
    Sentence("doctor", "slt", "command", "Cancel my appointment with Doctor Miller on Monday."),
    Sentence("umbrella", "slt", "question", "Do I need an umbrella today?"),
    Sentence("stop", "slt", "command", "Stop the music."),
    Sentence("repeat", "slt", "question", "Could you repeat that?"),
    Sentence("music", "rms", "command", "Play some music in the living room."),
    Sentence("sister", "rms", "command", "Please call my sister at home."),
    Sentence("capital", "rms", "question", "What is the capital of Australia?"),
    Sentence(
        "card",
        "rms",
        "request",
        "I lost my credit card and I need a new one as soon as possible.",
    ),
    Sentence("greeting", "rms", "phrase", "Good morning."),
    Sentence("pardon", "rms", "question", "What did you say?"),
    Sentence("shopping", "rms", "command", "Remind me to buy milk and bread on the way home."),
    Sentence("distance", "rms", "question", "How far is it from New York to Chicago?"),
)


# A listener's noises are those that flite speaks as one would: it spells out "mhm".
OVERLAPS = (
    Sentence("tomorrow", "kal16", "interruption", "No no, I meant tomorrow."),
    Sentence("wait", "slt", "interruption", "Wait, stop."),
    Sentence("wait", "rms", "interruption", "Wait, stop."),
    Sentence("hold", "kal16", "interruption", "Hold on a second."),
    Sentence("tomorrow", "slt", "interruption", "No no, I meant tomorrow."),
    Sentence("hold", "rms", "interruption", "Hold on a second."),
    Sentence("uh-huh", "kal16", "backchannel", "Uh huh."),
    Sentence("uh-huh", "slt", "backchannel", "Uh huh."),
    Sentence("uh-huh", "rms", "backchannel", "Uh huh."),
    Sentence("yeah", "kal16", "backchannel", "Yeah."),
    Sentence("yeah", "slt", "backchannel", "Yeah."),
    Sentence("right", "slt", "backchannel", "Right."),
)


class Recording(NamedTuple):
    """A file to be written: its manifest row and its samples."""

    row: dict[str, object]
    samples: Samples


def noise(name: str, length: int, level: float) -> Floats:
    """Return low-passed noise of the given RMS, the same for the same name everywhere.

    SHAKE-128 is the source, since numpy does not promise that its generators stay the same.
    Twelve bytes are summed to one nearly Gaussian sample; the low-pass leaves a room's rumble.
    """
    raw = np.frombuffer(hashlib.shake_128(name.encode()).digest(12 * (length + 64)), np.uint8)
    white = raw.reshape(-1, 12).sum(axis=1, dtype=np.int64).astype(np.float64) - 12 * 127.5
    kernel = 0.85 ** np.arange(64)
    # Summed in a fixed order: a library's convolution may choose its own.
    low = np.zeros(length)
    for lag, weight in enumerate(kernel):
        low += weight * white[64 - lag : 64 - lag + length]
    # The level that the filter's gain gives, rather than the level of this very stretch.
    gain = np.sqrt(np.sum(kernel**2)) * np.sqrt(12 * (256**2 - 1) / 12)
    scaled: Floats = low * (level / gain)
    return scaled


def speak(voice: str, text: str) -> Samples:
    """Return flite's samples for a text."""
    flite = shutil.which("flite")
    if flite is None:
        sys.exit("make_starter: flite is not installed: `apt install flite`, then run again")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        command = [flite, "-voice", voice, "-t", text, "-o", str(path)]
        subprocess.run(command, check=True)  # noqa: S603 - our own texts, no shell
        samples, rate = soundfile.read(path, dtype="int16")
    if rate != RATE:
        sys.exit(f"make_starter: flite's {voice} spoke at {rate} Hz instead of {RATE} Hz")
    spoken: Samples = samples
    return spoken


def bounds(samples: Samples) -> tuple[int, int]:
    """Return the index of the first audible window's first sample, and that after the last's."""
    floats = samples.astype(np.float64)
    starts = np.arange(0, floats.size - WINDOW + 1, HOP)
    power = np.array([np.mean(floats[start : start + WINDOW] ** 2) for start in starts])
    loud = np.flatnonzero(power > (np.max(np.abs(floats)) * AUDIBLE) ** 2)
    return int(starts[loud[0]]), int(starts[loud[-1]]) + WINDOW


def to_int16(floats: Floats) -> Samples:
    """Round to 16 bits, saturating."""
    return np.clip(np.rint(floats * 32_768), -32_768, 32_767).astype(np.int16)


def make_sentence(index: int, sentence: Sentence) -> Recording:
    """Make one recording of the starter set, with its manifest row."""
    spoken = speak(sentence.voice, sentence.text)
    start, end = bounds(spoken)
    speech = spoken[start:end].astype(np.float64)
    speech *= PEAK / np.max(np.abs(speech))
    fade = (np.arange(HOP) + 1) / (HOP + 1)
    speech[:HOP] *= fade
    speech[-HOP:] *= fade[::-1]
    lead = round(LEAD_S * RATE)
    trail = round(TRAILS_S[index % len(TRAILS_S)] * RATE)
    padded = np.concatenate((np.zeros(lead), speech, np.zeros(trail)))
    utterance_id = f"{sentence.voice}-{sentence.id}"
    samples = to_int16(padded + noise(utterance_id, padded.size, ROOM))
    row: dict[str, object] = {
        "id": utterance_id,
        "audio": f"{utterance_id}.flac",
        "text": sentence.text,
        "text_norm": sentence.text.lower().rstrip(".?"),
        "language": "en",
        "speaker": f"flite {sentence.voice}",
        "duration_s": samples.size / RATE,
        "speech_start_s": lead / RATE,
        "speech_end_s": (lead + speech.size) / RATE,
        "tolerance_ms": TOLERANCE_MS,
        "timing": "given",
        "licence": LICENCE,
        "kind": sentence.kind,
        "voice": sentence.voice,
    }
    return Recording(row, samples)


def starter() -> Iterator[Recording]:
    """Make the recordings of the starter set."""
    for index, sentence in enumerate(SENTENCES):
        yield make_sentence(index, sentence)


def interruptions() -> Iterator[Recording]:
    """Make the recordings that are spoken over a reply."""
    for index, sentence in enumerate(OVERLAPS):
        yield make_sentence(index, sentence)


def silence() -> Iterator[Recording]:
    """Make the two recordings in which nobody speaks."""
    length = 2 * RATE
    room = noise("room", length, 10 ** (-60 / 20))
    # A knock: 60 ms of decaying noise over the room. Longer ones are heard as a word.
    burst = noise("burst", length, 10 ** (-18 / 20))
    envelope = np.zeros(length)
    ramp = np.arange(60 * RATE // 1000) / (60 * RATE // 1000)
    envelope[RATE // 2 : RATE // 2 + ramp.size] = (1 - ramp) ** 2
    for name, floats in (("room-tone", room), ("noise-burst", room + burst * envelope)):
        row: dict[str, object] = {
            "id": name,
            "audio": f"{name}.flac",
            "expect": "none",
            "duration_s": length / RATE,
            "licence": "Apache-2.0",
        }
        yield Recording(row, to_int16(floats))


def write(folder: Path, recordings: Iterator[Recording]) -> None:
    """Write the recordings and their manifest into a folder."""
    folder.mkdir(exist_ok=True)
    lines = []
    for row, samples in recordings:
        path = folder / str(row["audio"])
        soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16")
        row["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")


def compare(folder: Path, recordings: Iterator[Recording]) -> list[str]:
    """Return one line for each recording whose samples differ from those in the folder."""
    differing = []
    for row, samples in recordings:
        path = folder / str(row["audio"])
        if not path.is_file():
            differing.append(f"{path}: missing")
            continue
        present, rate = soundfile.read(path, dtype="int16")
        if rate != RATE or not np.array_equal(present, samples):
            differing.append(f"{path}: other samples")
    return differing


SETS: Mapping[str, Callable[[], Iterator[Recording]]] = {
    "starter": starter,
    "interruptions": interruptions,
    "silence": silence,
}


def main() -> int:
    """Write or check the recordings; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the shipped recordings again.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    if arguments.check:
        differing = [line for name, make in SETS.items() for line in compare(HERE / name, make())]
        for line in differing:
            sys.stderr.write(line + "\n")
        return 1 if differing else 0
    for name, make in SETS.items():
        write(HERE / name, make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
