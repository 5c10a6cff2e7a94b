"""Numbers in English word tokens, spoken or written, as one canonical token each.

The canonical forms stand in ``harness.analysis.words.english``.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["read_numbers"]

_UNITS = {
    word: value
    for value, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], 1
    )
}
_TEENS = {
    word: value
    for value, word in enumerate(
        [
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        10,
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2
    )
} | {"fourty": 40}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_HALVED = tuple([word] for word in _SCALES)
_ZEROS = frozenset({"zero", "nought", "naught"})
_ORDINAL_UNITS = {
    word: value
    for value, word in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"], 1
    )
}
_ORDINAL_TEENS = {
    word: value
    for value, word in enumerate(
        [
            "tenth",
            "eleventh",
            "twelfth",
            "thirteenth",
            "fourteenth",
            "fifteenth",
            "sixteenth",
            "seventeenth",
            "eighteenth",
            "nineteenth",
        ],
        10,
    )
}
_ORDINAL_TENS = {word[:-1] + "ieth": value for word, value in _TENS.items() if word[-1] == "y"}
_ORDINAL_SCALES = {word + "th": value for word, value in _SCALES.items()}
_DECADES = {word[:-1] + "ies": f"{value}s" for word, value in _TENS.items() if word[-1] == "y"}
_REPEATS = {"double": 2, "triple": 3}

_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_MAJOR = {"dollar": "$", "dollars": "$", "pounds": "£", "euro": "€", "euros": "€"}
_MINOR = {"cent": "¢", "cents": "¢", "pence": "p", "p": "p"}
_MINOR_OF = {"$": "¢", "£": "p", "€": "¢"}

_DIGITS = re.compile(r"^\d+$")
_DECIMAL = re.compile(r"^\d*\.\d+$")
_ORDINAL = re.compile(r"^(\d+)(st|nd|rd|th)$")
_TIME = re.compile(r"^(\d{1,2}):(\d\d)$")
_MONEY = re.compile(r"^([$£€])(\d+(?:\.\d+)?)$")
_DECADE = re.compile(r"^'?(\d{2}|\d{4})'?s$")


def read_numbers(words: list[str]) -> list[str]:
    """Return the tokens with every number in its canonical form, joined with what belongs to it."""
    return _assemble(_read(words))


@dataclass(slots=True)
class _Number:
    """A number while it is being read.

    Attributes:
        done: digit strings already closed, to be joined.
        total: the part above the last scale word.
        group: the part below it, or None.
        scale: the last scale word's value.
        spoken: whether the group was spoken (twenty + four adds) or written (20 4 joins).
    """

    done: list[str]
    total: int = 0
    group: int | None = None
    scale: int = 10**15
    spoken: bool = True

    @property
    def open(self) -> bool:
        return self.group is not None or self.total > 0

    def close(self) -> None:
        if self.open:
            self.done.append(str(self.total + (self.group or 0)))
        self.total, self.group, self.scale, self.spoken = 0, None, 10**15, True

    def takes(self, value: int) -> bool:
        """Whether the value continues what was said: twenty + four, but not three + fifteen."""
        room = 10 if value < 10 else 100
        if self.group is None:
            return self.total > 0 and value < self.scale
        last = self.group % 100
        return self.spoken and self.group % room == 0 and (last == 0 or (last >= 20 and room == 10))

    def add(self, value: int) -> None:
        if self.open and not self.takes(value):
            self.close()
        self.group = (self.group or 0) + value
        self.spoken = True


def _suffix(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")


def _is_number(word: str) -> bool:
    return (
        word in _UNITS
        or word in _TEENS
        or word in _TENS
        or word in _SCALES
        or word == "hundred"
        or word in _ZEROS
        or bool(_DIGITS.match(word))
    )


def _ordinal_value(word: str, number: _Number) -> int | None:
    """Return what an ordinal word adds, or None if it does not continue the number."""
    value = _ORDINAL_UNITS.get(word) or _ORDINAL_TEENS.get(word) or _ORDINAL_TENS.get(word)
    if value is None:
        return None
    if number.open and not number.spoken and number.group in _TENS.values() and value < 10:
        return value  # "20 second" is what "twenty second" is
    return value if not number.open or number.takes(value) else None


def _read_number(tokens: list[str], start: int) -> tuple[list[str], int]:
    """Read the number that starts at an index; return its tokens and the index after it."""
    number = _Number(done=[])
    index = start
    tail: str | None = None
    while index < len(tokens):
        word = tokens[index]
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        begun = number.open or bool(number.done)
        if word in _UNITS or word in _TEENS or word in _TENS:
            number.add(_UNITS.get(word) or _TEENS.get(word) or _TENS[word])
        elif word in _ZEROS or (word in ("oh", "o") and begun and _is_number(following)):
            number.close()
            number.done.append("0")
        elif word == "hundred":
            if number.group is not None and 0 < number.group < 100:
                number.group *= 100
            elif number.group is None:
                number.group = 100
            else:
                number.close()
                number.group = 100
            number.spoken = True
        elif word in _SCALES:
            if not number.open or _SCALES[word] >= number.scale:
                number.close()
                number.group = 1
            number.scale = _SCALES[word]
            number.total += (number.group or 1) * number.scale
            number.group = None
        elif word == "and" and begun and tokens[index - 1] in ({"hundred"} | set(_SCALES)):
            if not _is_number(following) and following not in _ORDINAL_UNITS:
                break
        elif word in _REPEATS and following in _UNITS.keys() | _ZEROS:
            number.close()
            number.done.append(str(_UNITS.get(following, 0)) * _REPEATS[word])
            index += 1
        elif _DIGITS.match(word):
            if number.group is None and number.total and int(word) < number.scale:
                number.group, number.spoken = int(word), True
            else:
                number.close()
                if word[0] != "0" and len(word) <= 15:
                    number.group, number.spoken = int(word), False
                else:
                    number.done.append(word)
        elif word == "point" and begun and _is_number(following):
            return _read_decimal(number, tokens, index + 1)
        elif begun and word in _DECADES:
            number.close()
            tail = _DECADES[word]
            index += 1
            break
        elif (added := _ordinal_value(word, number)) is not None and number.open:
            number.group = (number.group or 0) + added
            value = number.total + number.group
            number.close()
            number.done[-1] += _suffix(value)
            index += 1
            break
        elif word in {"hundredth"} | _ORDINAL_SCALES.keys() and number.open:
            factor = _ORDINAL_SCALES.get(word, 100)
            number.total, number.group = number.total + (number.group or 1) * factor, None
            number.close()
            number.done[-1] += "th"
            index += 1
            break
        else:
            break
        index += 1
    number.close()
    return ["".join(number.done) + (tail or "")], index


def _read_decimal(number: _Number, tokens: list[str], start: int) -> tuple[list[str], int]:
    """Read the digits after a spoken point."""
    number.close()
    digits, index = "", start
    while index < len(tokens):
        word = tokens[index]
        if word in _UNITS or word in _TEENS or word in _TENS:
            value = _UNITS.get(word) or _TEENS.get(word) or _TENS[word]
            after = tokens[index + 1] if index + 1 < len(tokens) else ""
            if word in _TENS and after in _UNITS:
                value += _UNITS[after]
                index += 1
            digits += str(value)
        elif word in _ZEROS or word == "oh":
            digits += "0"
        elif _DIGITS.match(word):
            digits += word
        else:
            break
        index += 1
    return _scaled("".join(number.done) + "." + digits, tokens, index)


def _plain(value: Decimal) -> str:
    """Return a decimal without exponent; whole numbers without a point."""
    return str(int(value)) if value == value.to_integral_value() else f"{value:f}"


def _scaled(numeral: str, tokens: list[str], index: int) -> tuple[list[str], int]:
    """Apply a scale word after a decimal: 3.5 million is 3500000."""
    if index < len(tokens) and tokens[index] in _SCALES:
        return [_plain(Decimal(numeral) * _SCALES[tokens[index]])], index + 1
    return [numeral.rstrip(".")], index


def _read(tokens: list[str]) -> list[str]:
    """Replace every number by its canonical word."""
    result: list[str] = []
    index = 0
    while index < len(tokens):
        word = tokens[index]
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if match := _MONEY.match(word):
            amount, index = _scaled(match[2], tokens, index + 1)
            result += [amount[0], {"$": "dollars", "£": "pounds", "€": "euros"}[match[1]]]
        elif match := _TIME.match(word):
            hour, minute = int(match[1]), match[2]
            result.append(f"{hour}:00" if minute == "00" else f"{hour}{minute}")
            index += 1
        elif match := _ORDINAL.match(word):
            result.append(f"{int(match[1])}{_suffix(int(match[1]))}")
            index += 1
        elif match := _DECADE.match(word):
            result.append(f"{match[1]}s")
            index += 1
        elif _DECIMAL.match(word):
            numeral, index = _scaled(("0" if word[0] == "." else "") + word, tokens, index + 1)
            result += numeral
        elif word == "half" and following == "a" and tokens[index + 2 : index + 3] in _HALVED:
            result.append(str(_SCALES[tokens[index + 2]] // 2))
            index += 3
        elif word == "a" and (following == "hundred" or following in _SCALES):
            index += 1
        elif _is_number(word) or (
            word in _REPEATS and (following in _UNITS or following in _ZEROS)
        ):
            numeral, index = _read_number(tokens, index)
            result += numeral
        elif word in _DECADES:
            result.append(_DECADES[word])
            index += 1
        elif word in _ORDINAL_SCALES or word == "hundredth":
            result.append(f"{_ORDINAL_SCALES.get(word, 100)}th")
            index += 1
        elif (value := _ordinal_value(word, _Number(done=[]))) is not None:
            result.append(f"{value}{_suffix(value)}")
            index += 1
        else:
            result.append(word)
            index += 1
    return result


def _assemble(tokens: list[str]) -> list[str]:
    """Join what belongs to a number: hours, money, halves."""
    result: list[str] = []
    index = 0
    while index < len(tokens):
        word, rest = tokens[index], tokens[index + 1 : index + 4]
        numeric = bool(_DIGITS.match(word) or _DECIMAL.match(word) or "." in word[1:-1])
        if numeric and rest[:3] == ["and", "a", "half"] and _DIGITS.match(word):
            word, numeric = f"{word}.5", True
            index += 3
            rest = tokens[index + 1 : index + 4]
            if rest and rest[0].isdigit() and int(rest[0]) in _SCALES.values():
                word = _plain(Decimal(word) * int(rest[0]))
                index += 1
                rest = tokens[index + 1 : index + 4]
        if rest[:1] == ["oclock"] and _DIGITS.match(word) and int(word) <= 24:
            result.append(f"{int(word)}:00")
            index += 2
        elif rest[:1] in (["am"], ["pm"]) and _DIGITS.match(word) and 1 <= int(word) <= 12:
            result += [f"{int(word)}:00", rest[0]]
            index += 2
        elif numeric and rest[:1] and rest[0] in _MAJOR:
            sign = _MAJOR[rest[0]]
            index += 2
            minor = tokens[index + 1 : index + 2] if tokens[index : index + 1] == ["and"] else None
            at = index + 1 if minor is not None else index
            pair = tokens[at : at + 2]
            if (
                len(pair) == 2
                and _DIGITS.match(pair[0])
                and int(pair[0]) < 100
                and _MINOR.get(pair[1]) == _MINOR_OF[sign]
                and "." not in word
            ):
                word = f"{word}.{int(pair[0]):02d}"
                index = at + 2
            result.append(_money(sign, word))
        elif numeric and rest[:1] and rest[0] in ("cent", "cents", "pence"):
            result.append(f"{word}{_MINOR[rest[0]]}")
            index += 2
        else:
            result.append(word)
            index += 1
    return result


def _money(sign: str, numeral: str) -> str:
    """Return an amount: $20, $20.50, and 50¢ for $0.50."""
    value = Decimal(numeral)
    if 0 < value < 1 and (100 * value) == (100 * value).to_integral_value():
        return f"{int(100 * value)}{_MINOR_OF[sign]}"
    if value == value.to_integral_value():
        return f"{sign}{int(value)}"
    return f"{sign}{value:.2f}" if value.as_tuple().exponent == -1 else f"{sign}{value:f}"
