"""English text as word tokens in which writing and speech agree.

A recogniser that writes "3:15 p.m." and one that writes "three fifteen pm" heard the same. This
normaliser maps both onto one form. It is our own because the common one (whisper-normalizer 0.1.15)
turns "three o'clock" into "30 clock", which invents errors in exactly the sentences that callers
say to a booking agent, and because a score needs a normaliser whose version is pinned.

The canonical form of numbers: a run of spoken or written numbers becomes one word.

    twenty, 20                              20
    three fifteen, 3:15, 3 15               315
    three o'clock, 3:00; three pm, 3:00 PM  3:00; 3:00 pm
    nineteen eighty-four, 1984              1984
    two thousand and five                   2005
    five five five, one two one two         5551212
    twenty dollars and fifty cents, $20.50  $20.50
    fifty per cent, 50%                     50 percent
    twenty-first, 21st                      21st
    three point one four                    3.14

What it cannot tell apart, it treats alike on both sides, so that it never invents an error: "three
fifteen" and "315" are one word, a list "one, two, three" is "123", "one second" is "1 2nd".
"""

import re
import unicodedata
from functools import lru_cache

from harness.analysis.words.numerals import read_numbers

__all__ = ["FILLERS", "english_tokens"]

FILLERS = frozenset({"um", "umm", "uh", "uhh", "uhm", "erm", "er", "hmm", "hm", "mm", "mmm"})

_WORDS: dict[str, tuple[str, ...]] = {
    "won't": ("will", "not"),
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "shan't": ("shall", "not"),
    "ain't": ("is", "not"),
    "let's": ("let", "us"),
    "y'all": ("you", "all"),
    "ma'am": ("madam",),
    "maam": ("madam",),
    "o'clock": ("oclock",),
    "'cause": ("because",),
    "'em": ("them",),
    "gonna": ("going", "to"),
    "wanna": ("want", "to"),
    "gotta": ("got", "to"),
    "kinda": ("kind", "of"),
    "lemme": ("let", "me"),
    "gimme": ("give", "me"),
    "dunno": ("do", "not", "know"),
    "mr": ("mister",),
    "mrs": ("missus",),
    "dr": ("doctor",),
    "prof": ("professor",),
    "ok": ("okay",),
    "alright": ("all", "right"),
    "vs": ("versus",),
    "etc": ("et", "cetera"),
    "percent": ("percent",),
    "till": ("until",),
    "'til": ("until",),
    "thru": ("through",),
    # Recognisers that leave apostrophes out; only where no other word is meant.
    "dont": ("do", "not"),
    "doesnt": ("does", "not"),
    "didnt": ("did", "not"),
    "isnt": ("is", "not"),
    "arent": ("are", "not"),
    "wasnt": ("was", "not"),
    "werent": ("were", "not"),
    "havent": ("have", "not"),
    "hasnt": ("has", "not"),
    "hadnt": ("had", "not"),
    "couldnt": ("could", "not"),
    "shouldnt": ("should", "not"),
    "wouldnt": ("would", "not"),
    "wont": ("will", "not"),
    "cant": ("can", "not"),
    "im": ("i", "am"),
    "ive": ("i", "have"),
    "youre": ("you", "are"),
    "youve": ("you", "have"),
    "theyre": ("they", "are"),
    "weve": ("we", "have"),
    "thats": ("that", "is"),
    "whats": ("what", "is"),
}
_SUFFIXES = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'m": "am", "'d": "would"}
# 's is "is" after these and a possessive after nouns.
_IS = frozenset(
    [
        "it",
        "that",
        "what",
        "there",
        "here",
        "he",
        "she",
        "who",
        "where",
        "how",
        "when",
        "why",
        "everything",
        "nothing",
        "something",
    ]
)
_PAIRS = {
    ("per", "cent"): "percent",
    ("o", "clock"): "oclock",
    ("e", "mail"): "email",
    ("e", "mails"): "emails",
    ("wi", "fi"): "wifi",
    ("any", "more"): "anymore",
    ("good", "bye"): "goodbye",
}

# British to American spelling: by stem, so that inflections follow.
_SPELLING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            (
                r"^(arbo|arm|behavi|cand|clam|col|endeav|fav|flav|glam|harb|hon|hum|lab|neighb|od|parl|"
                r"rig|rum|sav|splend|tum|vap|vig)our(?=$|s$|ed$|ing|able|ably|ful|ite|hood|less|er|y)"
            ),
            r"\1or",
        ),
        (r"^(cent|fib|lit|met|theat|kilomet|centimet|millimet|somb|spect|calib)re(s?)$", r"\1er\2"),
        (r"^centred$", "centered"),
        (
            (
                r"^(cancel|travel|label|model|signal|level|fuel|dial|total|channel|counsel|quarrel|"
                r"marvel|tunnel)l(ed|ing|er|ers)$"
            ),
            r"\1\2",
        ),
        (
            (
                r"^(\w*(?:organ|real|recogn|apolog|author|categor|custom|emphas|final|general|memor|"
                r"minim|maxim|optim|personal|prior|standard|summar|synchron|util|visual|special|"
                r"critic|initial|local|modern|normal|symbol))is(e|ed|es|er|ers|ing|ation|ations)$"
            ),
            r"\1iz\2",
        ),
        (r"^(anal|paral|catal)ys(e|ed|es|ing)$", r"\1yz\2"),
        (r"^(catalog|dialog|analog)ue(s?)$", r"\1\2"),
        (r"^(defen|offen|preten|licen)ce(s?|d)$", r"\1se\2"),
        (r"^practis(e|ed|es|ing)$", r"practic\1"),
        (r"^programme(s?)$", r"program\1"),
        (r"^gr(e)y(s?|er|est)$", r"gray\2"),
        (r"^cheque(s?)$", r"check\1"),
        (r"^tyre(s?)$", r"tire\1"),
        (r"^jewellery$", "jewelry"),
        (r"^pyjamas$", "pajamas"),
        (r"^aluminium$", "aluminum"),
        (r"^(ski|wi)lful(ly)?$", r"\1llful\2"),
        (r"^(fulfi|enro|insta)l(s|ment|ments)?$", r"\1ll\2"),
        (r"^aeroplane(s?)$", r"airplane\1"),
        (r"^maths$", "math"),
        (r"^enquir(e|y|ies|ed|es|ing)$", r"inquir\1"),
    )
)

_TOKEN = re.compile(
    r"""[$£€]\d+(?:\.\d+)?              # money
      | \d{1,2}:\d\d(?!\d)              # a time
      | '?\d+'?s\b                      # a decade
      | \d+(?:st|nd|rd|th)\b            # an ordinal
      | \d*\.\d+(?![\d.]) | \d+         # a number
      | '?[^\W\d_]+(?:'[^\W\d_]+)*      # a word, with its apostrophes
    """,
    re.VERBOSE,
)


def _prepare(text: str) -> str:
    """Lower case, plain characters, and the written forms that only punctuation tells apart."""
    # A fraction would join the number before it: 1½ becomes 11⁄2.
    text = re.sub("([½¼¾])", r" \1", text)
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    text = re.sub(r"[‘’ʼ`´′]", "'", text)
    text = re.sub(r"\[[^\]]*\]|<[^>]*>", " ", text)  # [noise], <unk>
    text = re.sub(r"(?<![\w.])((?:[a-z]\.){2,}[a-z]?)(?!\w)", lambda m: m[1].replace(".", ""), text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 20,500
    text = re.sub(r"([$£€])\s+(?=\d)", r"\1", text)
    text = re.sub(r"(\d)\s*%", r"\1 percent ", text)
    text = re.sub(r"(?<![\w)])[-−](?=[$£€]?\.?\d)", " minus ", text)
    text = re.sub(r"°\s*c\b", " degrees celsius ", text)
    text = re.sub(r"°\s*f\b", " degrees fahrenheit ", text).replace("°", " degrees ")
    text = re.sub(r"(?<=\d)\s*¢", " cents ", text)
    text = re.sub(r"(?<=\d)\s*k\b", " thousand ", text)
    text = re.sub(r"(?<=\d)\s+1[/⁄]2\b", " and a half ", text)
    for written, spoken in (
        ("1[/⁄]2", "half"),
        ("1[/⁄]4", "a quarter"),
        ("3[/⁄]4", "three quarters"),
    ):
        text = re.sub(rf"(?<![\d/⁄.,]){written}(?![\d/⁄])", f" {spoken} ", text)
    text = re.sub(r"(?<=\d)(am|pm)\b", r" \1", text)
    text = re.sub(r"(\d)\.(?=\s|$)", r"\1 ", text)
    return text.replace("&", " and ").replace("@", " at ").replace("+", " plus ")


def _expand(word: str) -> tuple[str, ...]:
    """Return a word as its parts: contractions expanded, spelling American."""
    if word in _WORDS:
        return _WORDS[word]
    for suffix, expansion in _SUFFIXES.items():
        if word.endswith(suffix) and len(word) > len(suffix):
            return (*_expand(word[: -len(suffix)]), expansion)
    if word.endswith("'s") and word[:-2] in _IS:
        return (word[:-2], "is")
    word = word.replace("'", "")
    for pattern, replacement in _SPELLING:
        changed = pattern.sub(replacement, word)
        if changed != word:
            return (changed,)
    return (word,) if word else ()


def _words(text: str) -> list[str]:
    """Return the tokens before numbers are read: expanded words and raw numerals."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(_prepare(text)):
        word = match[0]
        if any(c.isdigit() for c in word):
            tokens.append(word)
        else:
            tokens.extend(_expand(word))
    joined: list[str] = []
    for word in tokens:
        if joined and (joined[-1], word) in _PAIRS:
            joined[-1] = _PAIRS[joined[-1], word]
        else:
            joined.append(word)
    return _join_letters(joined)


def _join_letters(tokens: list[str]) -> list[str]:
    """Join spelled letters: "a p i" is "api", "p m" is "pm"; "i a" alone are words."""
    result: list[str] = []
    index = 0
    while index < len(tokens):
        end = index
        while end < len(tokens) and len(tokens[end]) == 1 and tokens[end].isalpha():
            end += 1
        run = tokens[index:end]
        if len(run) > 1 and not set(run) <= {"a", "i", "o"}:
            result.append("".join(run))
        else:
            end = max(end, index + 1)
            result.extend(tokens[index:end])
        index = end
    return result


@lru_cache(maxsize=32_768)
def english_tokens(text: str, *, drop_fillers: bool = True) -> tuple[str, ...]:
    """Return the canonical word tokens of English text.

    Args:
        text: as transcribed or as written in a manifest.
        drop_fillers: leave out :data:`FILLERS`, which recognisers keep or drop by policy.
    """
    words = [w for w in _words(text) if not (drop_fillers and w in FILLERS)]
    return tuple(read_numbers(words))
