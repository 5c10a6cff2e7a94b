"""German, French and Spanish text as word tokens in which numbers read alike, spoken or written.

Everything goes through Unicode NFKC, case folding and the removal of punctuation; accents stay,
since they tell words apart. A number becomes one token of digits, and numbers side by side are
joined, as a telephone number is read in groups of any length.

    de  einundzwanzig, 21                          21
        zweitausendfünfhundert, 2.500              2500
        fünfzehn Uhr dreißig, 15:30 Uhr, 15:30     15 uhr 30
        drei Komma fünf, 3,5                       3,5
        am dritten Mai, am 3. Mai                  am 3te mai
    fr  quatre-vingt-dix-sept, 97, nonante-sept    97
        deux mille cinq cents, 2 500               2500
        quinze heures trente, 15h30, 15:30         15 heures 30
        trois virgule cinq, 3,5                    3,5
        troisième, 3e, 3ème                        3e
    es  treinta y cinco, 35                        35
        dos mil quinientos, 2.500                  2500
        las quince treinta, las 15:30              las 1530
        tres coma cinco, 3,5, 3.5                  3,5
    all fünfzig Prozent, 50 %; vingt euros, 20 €

What it leaves alone: the articles *ein*, *un*, *una* (numbers only where their neighbour makes them
one); halves and quarters of an hour (*halb vier*, *et demie*, *y cuarto*); dollar and peso signs;
German ordinals in digits that stand before no month; Spanish ordinals; abbreviations; fractions.
There the reference has to be written as the recogniser writes it. What cannot be told apart is
treated alike on both sides, so that equal texts never differ: a list "zwei, drei" is 23, as in
English.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from harness.analysis.words.german import THOUSANDS, german, german_written

__all__ = ["FILLERS_OF", "NUMBERED", "numbered_tokens"]

NUMBERED: Final = frozenset({"de", "fr", "es"})
FILLERS_OF: Final[Mapping[str, frozenset[str]]] = {
    "de": frozenset({"äh", "ähm", "öh", "öhm", "hm", "hmm", "mhm"}),
    "fr": frozenset({"euh", "heu", "hum", "hmm"}),
    "es": frozenset({"eh", "ehm", "em", "mmm"}),
}

_TOKEN: Final = re.compile(r"\d+,\d+(?![\d,])|[^\W_]+")
_DIGITS: Final = re.compile(r"\d+")


# --- German: a number is one word ---------------------------------------------------------------


# --- French and Spanish: a number is several words ----------------------------------------------

_FR_UNITS: Final = {
    "un": 1, "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "six": 6, "sept": 7,
    "huit": 8, "neuf": 9,
}  # fmt: skip
_FR_TEENS: Final = {
    "dix": 10, "onze": 11, "douze": 12, "treize": 13, "quatorze": 14, "quinze": 15, "seize": 16,
}  # fmt: skip
_FR_TENS: Final = {
    "vingt": 20, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60, "septante": 70,
    "huitante": 80, "octante": 80, "nonante": 90,
}  # fmt: skip
_FR_ORDINALS: Final = {
    "premier": 1, "première": 1, "premiers": 1, "premières": 1, "deuxième": 2, "troisième": 3,
    "quatrième": 4, "cinquième": 5, "sixième": 6, "septième": 7, "huitième": 8, "neuvième": 9,
    "dixième": 10, "onzième": 11, "douzième": 12, "treizième": 13, "quatorzième": 14,
    "quinzième": 15, "seizième": 16, "vingtième": 20, "trentième": 30, "centième": 100,
}  # fmt: skip

_ES_UNITS: Final = {
    "uno": 1, "un": 1, "una": 1, "ún": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6,
    "siete": 7, "ocho": 8, "nueve": 9,
}  # fmt: skip
_ES_BELOW_30: Final = {
    "diez": 10, "once": 11, "doce": 12, "trece": 13, "catorce": 14, "quince": 15,
    "dieciséis": 16, "diecisiete": 17, "dieciocho": 18, "diecinueve": 19, "veintiuno": 21,
    "veintiún": 21, "veintiuna": 21, "veintidós": 22, "veintitrés": 23, "veinticuatro": 24,
    "veinticinco": 25, "veintiséis": 26, "veintisiete": 27, "veintiocho": 28, "veintinueve": 29,
}  # fmt: skip
_ES_TENS: Final = {
    "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70,
    "ochenta": 80, "noventa": 90,
}  # fmt: skip
_ES_HUNDREDS: Final = {
    "cien": 100, "ciento": 100, "doscientos": 200, "trescientos": 300, "cuatrocientos": 400,
    "quinientos": 500, "seiscientos": 600, "setecientos": 700, "ochocientos": 800,
    "novecientos": 900,
}  # fmt: skip

_Reader = Callable[[Sequence[str], int], tuple[int, int] | None]
"""Given words and a place: the number that starts there and the place after it."""


def _french_below_100(words: Sequence[str], at: int) -> tuple[int, int] | None:
    word = words[at] if at < len(words) else ""
    after = words[at + 1] if at + 1 < len(words) else ""
    if word == "quatre" and after in ("vingt", "vingts"):
        return _french_rest(words, at + 2, 80, to=20)
    if word == "dix" and after in ("sept", "huit", "neuf"):
        return 10 + _FR_UNITS[after], at + 2
    if word in _FR_TEENS:
        return _FR_TEENS[word], at + 1
    if word in _FR_TENS:
        return _french_rest(words, at + 1, _FR_TENS[word], to=20 if word == "soixante" else 10)
    return (_FR_UNITS[word], at + 1) if word in _FR_UNITS else None


def _french_rest(words: Sequence[str], at: int, tens: int, *, to: int) -> tuple[int, int]:
    """Add what follows a ten: a unit, or up to nineteen after sixty and eighty."""
    joined = at < len(words) and words[at] == "et"
    start = at + 1 if joined else at
    word = words[start] if start < len(words) else ""
    if joined and word not in ("un", "une", "onze"):
        return tens, at
    if word in _FR_TENS or (word == "quatre" and words[start + 1 : start + 2] == ["vingt"]):
        return tens, at
    found = _french_below_100(words, start)
    if found is None or found[0] >= to:
        return tens, at
    return tens + found[0], found[1]


def _french_below_1000(words: Sequence[str], at: int) -> tuple[int, int] | None:
    if at < len(words) and words[at] == "cent":
        hundreds, place = 1, at + 1
    else:
        found = _french_below_100(words, at)
        if found is None or not 2 <= found[0] <= 9 or words[found[1] : found[1] + 1] not in (
            ["cent"], ["cents"],
        ):  # fmt: skip
            return found
        hundreds, place = found[0], found[1] + 1
    rest = _french_below_100(words, place)
    return (hundreds * 100, place) if rest is None else (hundreds * 100 + rest[0], rest[1])


def _spanish_below_100(words: Sequence[str], at: int) -> tuple[int, int] | None:
    word = words[at] if at < len(words) else ""
    if word in _ES_BELOW_30:
        return _ES_BELOW_30[word], at + 1
    if word in _ES_TENS:
        unit = words[at + 2] if at + 2 < len(words) and words[at + 1] == "y" else ""
        if unit in _ES_UNITS:
            return _ES_TENS[word] + _ES_UNITS[unit], at + 3
        return _ES_TENS[word], at + 1
    return (_ES_UNITS[word], at + 1) if word in _ES_UNITS else None


def _spanish_below_1000(words: Sequence[str], at: int) -> tuple[int, int] | None:
    word = words[at] if at < len(words) else ""
    hundreds = _ES_HUNDREDS.get(re.sub(r"as$", "os", word))
    if hundreds is None:
        return _spanish_below_100(words, at)
    rest = None if word == "cien" else _spanish_below_100(words, at + 1)
    return (hundreds, at + 1) if rest is None else (hundreds + rest[0], rest[1])


def _with_thousands(below: _Reader, thousand: str, million: tuple[str, ...]) -> _Reader:
    """Return a reader up to 999,999,999."""

    def thousands(words: Sequence[str], at: int) -> tuple[int, int] | None:
        if at < len(words) and words[at] == thousand:
            many, place = 1, at + 1
        else:
            found = below(words, at)
            if found is None or found[0] < 2 or words[found[1] : found[1] + 1] != [thousand]:
                return found
            many, place = found[0], found[1] + 1
        rest = below(words, place)
        return (many * 1_000, place) if rest is None else (many * 1_000 + rest[0], rest[1])

    def whole(words: Sequence[str], at: int) -> tuple[int, int] | None:
        found = thousands(words, at)
        if found is None or found[1] >= len(words) or words[found[1]] not in million:
            return found
        many, place = found[0] * 1_000_000, found[1] + 1
        rest = thousands(words, place)
        return (many, place) if rest is None else (many + rest[0], rest[1])

    return whole


_FRENCH: Final = _with_thousands(_french_below_1000, "mille", ("million", "millions"))
_SPANISH: Final = _with_thousands(_spanish_below_1000, "mil", ("millón", "millones"))
_ARTICLES: Final = {"fr": frozenset({"un", "une"}), "es": frozenset({"un", "una"})}


def _several(words: list[str], language: str) -> list[str]:
    """Read numbers of several words; an article is one only beside a number or an hour."""
    read = _FRENCH if language == "fr" else _SPANISH
    zero = "zéro" if language == "fr" else "cero"
    found: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        number = read(words, at)
        if word == zero:
            found.append("0")
            at += 1
        elif language == "fr" and word in _FR_ORDINALS:
            found.append(f"{_FR_ORDINALS[word]}e")
            at += 1
        elif number is None:
            found.append(word)
            at += 1
        elif number[1] == at + 1 and word in _ARTICLES[language]:
            after = words[at + 1] if at + 1 < len(words) else ""
            before = found[-1] if found else ""
            beside = _DIGITS.fullmatch(before) or _DIGITS.fullmatch(after) or read(words, at + 1)
            hour = after in ("heure", "heures") if language == "fr" else before == "la"
            found.append("1" if beside or hour else word)
            at += 1
        else:
            found.append(str(number[0]))
            at = number[1]
    return found


def _french_written(text: str) -> str:
    text = THOUSANDS.sub(lambda found: found[0].replace(".", ""), text)
    text = re.sub(r"(?<!\d)(\d{1,2})\s*(?:h|:)\s*(\d\d)(?!\d)", r"\1 heures \2", text)
    text = re.sub(r"(?<!\d)(\d{1,2})\s*h\b", r"\1 heures", text)
    text = re.sub(r"(?<=\d) heures 00(?!\d)", " heures", text)
    text = re.sub(r"(?<!\d)(\d+)\s?(?:ères?|ers?|èmes?|emes?|es?|nde?|re)\b", r"\1e", text)
    return re.sub(r"\bpour\s+cents?\b", "pourcent", text)


def _spanish_written(text: str) -> str:
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*(?![\d.,]\d)", _ungrouped, text)
    text = re.sub(r"(?<=\d)\.(?=\d{1,2}(?!\d))", ",", text)
    text = re.sub(r"(?<!\d)(\d{1,2}):00(?!\d)", r"\1", text)
    text = re.sub(r"(?<=\d):(?=\d\d(?!\d))", " ", text)
    return re.sub(r"\bpor\s+ciento\b", "porciento", text)


def _ungrouped(found: re.Match[str]) -> str:
    return re.sub(r"[.,]", "", found[0])


# --- All ---------------------------------------------------------------------------------------

_WRITTEN: Final = {"de": german_written, "fr": _french_written, "es": _spanish_written}
_COMMAS: Final = {
    "de": frozenset({"komma"}),
    "fr": frozenset({"virgule"}),
    "es": frozenset({"coma", "punto"}),
}
_PERCENT: Final = {"de": "prozent", "fr": "pourcent", "es": "porciento"}
_EURO: Final = {"de": "euro", "fr": "euros", "es": "euros"}
# After a number the singular is written for what is said in the plural, and the reverse.
_PLURAL: Final = {"fr": {"heure": "heures", "euro": "euros"}, "es": {"euro": "euros"}, "de": {}}


@lru_cache(maxsize=32_768)
def numbered_tokens(text: str, language: str, *, drop_fillers: bool = True) -> tuple[str, ...]:
    """Return the canonical word tokens of German, French or Spanish text.

    Args:
        text: as transcribed or as written in a manifest.
        language: one of :data:`NUMBERED`.
        drop_fillers: leave out :data:`FILLERS_OF` the language.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    euro = _EURO[language]
    folded = re.sub(r"€\s*(\d+(?:[.,]\d+)?)", r"\1 €", folded)
    folded = _WRITTEN[language](folded)
    folded = folded.replace("%", f" {_PERCENT[language]} ")
    folded = re.sub(rf"(\d+),(\d\d)\s*(?:€|{euro}|euro)(?!\w)", rf"\1 {euro} \2 ", folded)
    folded = folded.replace("€", f" {euro} ")
    words = [
        word
        for word in _TOKEN.findall(folded)
        if not (drop_fillers and word in FILLERS_OF[language])
    ]
    read = german(words) if language == "de" else _several(words, language)
    return tuple(_assembled(read, language))


def _assembled(words: Sequence[str], language: str) -> list[str]:
    """Join decimals and neighbouring numbers, and unite the plurals that follow a number."""
    found: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if not _DIGITS.fullmatch(word):
            numeric = bool(found) and bool(_DIGITS.fullmatch(found[-1].replace(",", "")))
            found.append(_PLURAL[language].get(word, word) if numeric else word)
            at += 1
            continue
        end = _run(words, at)
        number = "".join(words[at:end])
        if end + 1 < len(words) and words[end] in _COMMAS[language]:
            stop = _run(words, end + 1)
            if stop > end + 1:
                number, end = f"{number},{''.join(words[end + 1 : stop])}", stop
        found.append(number)
        at = end
    return found


def _run(words: Sequence[str], at: int) -> int:
    """Return the place after the numbers that stand side by side from a place on."""
    while at < len(words) and _DIGITS.fullmatch(words[at]):
        at += 1
    return at
