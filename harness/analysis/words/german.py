"""German numbers, written out as digits."""

import re
from functools import lru_cache
from typing import Final

__all__ = ["THOUSANDS", "german", "german_written"]


THOUSANDS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])(?!,\d{3})")


_DE_UNITS: Final = {
    "ein": 1, "eins": 1, "zwei": 2, "zwo": 2, "drei": 3, "vier": 4, "fünf": 5, "sechs": 6,
    "sieben": 7, "acht": 8, "neun": 9,
}  # fmt: skip


_DE_TEENS: Final = {
    "zehn": 10, "elf": 11, "zwölf": 12, "dreizehn": 13, "vierzehn": 14, "fünfzehn": 15,
    "sechzehn": 16, "siebzehn": 17, "achtzehn": 18, "neunzehn": 19,
}  # fmt: skip
# Case folding has made ss of ß.


# Case folding has made ss of ß.
_DE_TENS: Final = {
    "zwanzig": 20, "dreissig": 30, "vierzig": 40, "fünfzig": 50, "sechzig": 60, "siebzig": 70,
    "achtzig": 80, "neunzig": 90,
}  # fmt: skip


_DE_ORDINALS: Final = {
    "erste": 1, "zweite": 2, "dritte": 3, "vierte": 4, "fünfte": 5, "sechste": 6, "siebte": 7,
    "siebente": 7, "achte": 8, "neunte": 9,
}  # fmt: skip


def _de_below_hundred() -> dict[str, int]:
    found = dict(_DE_UNITS) | _DE_TEENS | _DE_TENS
    for unit, one in _DE_UNITS.items():
        for tens, ten in _DE_TENS.items():
            if unit != "eins":
                found[f"{unit}und{tens}"] = ten + one
    return found


_DE_BELOW_100: Final = _de_below_hundred()


_DE_MONTHS: Final = (
    "januar|jänner|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember"
)


@lru_cache(maxsize=8_192)
def _german_number(word: str) -> int | None:
    """Return what a German number word says, up to 999,999; None for another word."""
    if word in _DE_BELOW_100:
        return _DE_BELOW_100[word]
    # Thousands first: "zweihunderttausend" is a hundred within a thousand.
    for name, factor in (("tausend", 1_000), ("hundert", 100)):
        before, found, after = word.partition(name)
        if not found:
            continue
        many = 1 if not before else _german_number(before)
        # "Neunzehnhundert" counts hundreds of a year; a thousand hundreds is no word.
        if many is None or many >= (1_000 if factor == 1_000 else 100):
            return None
        rest = 0 if not after else _german_number(after.removeprefix("und"))
        if rest is None or rest >= factor:
            return None
        return many * factor + rest
    return None


def _german_ordinal(word: str) -> int | None:
    stem = re.fullmatch(r"(.+e)[nrsm]?", word)
    if stem is None:
        return None
    if stem[1] in _DE_ORDINALS:
        return _DE_ORDINALS[stem[1]]
    for suffix, low, high in (("ste", 20, 1_000_000), ("te", 10, 20)):
        if stem[1].endswith(suffix):
            value = _german_number(stem[1].removesuffix(suffix))
            if value is not None and low <= value < high:
                return value
    return None


def german_written(text: str) -> str:
    """Return a text with its written numbers as one token each."""
    text = THOUSANDS.sub(lambda found: found[0].replace(".", ""), text)
    text = re.sub(r"(?<![\d.])(\d{1,2})\.\s?(\d{1,2})\.(?=\s|\d{2,4}\b|$)", r" \1te \2te ", text)
    text = re.sub(rf"(?<!\d)(\d{{1,2}})\.\s*(?={_DE_MONTHS})", r"\1te ", text)
    text = re.sub(r"(?<!\d)(\d{1,2})[:.](\d\d)\s*uhr\b", r"\1 uhr \2", text)
    text = re.sub(r"(?<!\d)(\d{1,2}):(\d\d)(?!\d)", r"\1 uhr \2", text)
    return re.sub(r"(?<=\d) uhr 00(?!\d)", " uhr", text)


def german(words: list[str]) -> list[str]:
    """Return words with numbers in words as digits."""
    found: list[str] = []
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        half = re.fullmatch(r"(\w+)einhalb", word)
        if word in ("ein", "eine", "einen", "einem", "einer"):
            counted = word == "ein" and following in ("uhr", "prozent", "euro", "komma")
            found.append("1" if counted else word)
        elif word in ("anderthalb", "eineinhalb"):
            found.append("1,5")
        elif half is not None and half[1] in _DE_BELOW_100:
            found.append(f"{_DE_BELOW_100[half[1]]},5")
        elif word == "null":
            found.append("0")
        elif (value := _german_number(word)) is not None:
            found.append(str(value))
        elif (value := _german_ordinal(word)) is not None:
            found.append(f"{value}te")
        else:
            found.append(word)
    return found
