"""What a transcript got wrong: golden cases of the normaliser, and the laws of scoring."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.words.transcript import (
    NORMALISER_VERSION,
    NoTranscript,
    Op,
    Score,
    SlotScore,
    align,
    normalise,
    pooled_rate,
    pooled_slot_recall,
    score,
    slot_recall,
    unit_of,
)

# Each row is one utterance as people and recognisers write it, and the form they share.
GOLDEN = [
    ("20", ["twenty", "20", "Twenty."]),
    ("315", ["three fifteen", "3:15", "3 15", "315"]),
    (
        "at 3:00",
        ["at three o'clock", "at 3:00", "At 3 o'clock.", "at three o’clock", "at 3 o clock"],
    ),
    ("3:00 pm", ["three pm", "3:00 PM", "3 p.m.", "3pm", "three P M", "3:00 p.m."]),
    ("1030 am", ["10:30 a.m.", "ten thirty am", "10 30 AM", "ten-thirty A.M."]),
    ("305", ["3:05", "three oh five", "three o five"]),
    ("12:00 noon", ["twelve o'clock noon", "12:00 noon"]),
    ("half past 3", ["half past three", "half past 3"]),
    ("1984", ["nineteen eighty-four", "1984"]),
    ("1905", ["nineteen oh five", "1905"]),
    ("2005", ["two thousand and five", "two thousand five", "2005", "2,005"]),
    ("2024", ["twenty twenty-four", "2024", "two thousand twenty four"]),
    ("the year 2000", ["the year two thousand", "the year 2000"]),
    ("the 90s", ["the nineties", "the 90s", "the '90s", "the 90's"]),
    ("1990s", ["nineteen nineties", "1990s"]),
    ("5551212", ["five five five, one two one two", "555-1212", "555 1212"]),
    ("775", ["double seven five", "775", "seven seven five"]),
    ("404", ["four oh four", "404", "four zero four"]),
    ("105", ["one hundred and five", "a hundred and five", "105"]),
    ("1400", ["fourteen hundred", "1400", "one thousand four hundred"]),
    ("12345", ["twelve thousand three hundred and forty-five", "12,345"]),
    ("2500000", ["two point five million", "2.5 million", "2,500,000"]),
    ("3.14", ["three point one four", "3.14"]),
    ("3.5", ["three and a half", "3.5", "3 and a half"]),
    ("2500000", ["two and a half million", "2.5 million", "2 1/2 million"]),
    ("500000 people", ["half a million people", "500,000 people"]),
    ("1.5 hours", ["one and a half hours", "1 1/2 hours", "1½ hours", "1.5 hours"]),
    ("half cup", ["1/2 cup", "½ cup", "half cup"]),
    ("247 support", ["24/7 support", "twenty-four seven support"]),
    ("5000", ["5k", "five thousand", "5,000"]),
    ("minus 20 degrees celsius", ["-20 °C", "-20°C", "minus twenty degrees Celsius"]),
    ("20 degrees", ["20°", "twenty degrees"]),
    ("minus 5", ["minus five", "-5"]),
    ("$20.50", ["twenty dollars and fifty cents", "$20.50", "20 dollars 50 cents", "$20.5"]),
    ("$5000000", ["five million dollars", "$5 million", "$5,000,000"]),
    ("50¢", ["fifty cents", "$0.50", "50 cents", "50¢"]),
    ("£3.50", ["three pounds fifty pence", "three pounds and fifty pence", "£3.50"]),
    ("€9", ["nine euros", "€9", "9 Euros"]),
    ("50 percent", ["50%", "fifty percent", "fifty per cent", "50 %"]),
    ("21st", ["twenty-first", "21st", "twenty first"]),
    ("101st", ["one hundred first", "one hundred and first", "101st"]),
    ("the 100th", ["the hundredth", "the 100th"]),
    ("may 5th", ["May fifth", "May 5th"]),
    ("22nd timer", ["20-second timer", "twenty second timer"]),
    ("1 2nd", ["one second", "1 second"]),
    ("do not", ["don't", "do not", "dont", "don’t"]),
    ("i am going to", ["I'm gonna", "I am going to", "im gonna"]),
    ("can not", ["can't", "cannot", "can not"]),
    ("it is johns", ["it's John's", "it is John's", "it is johns"]),
    ("we would have", ["we'd've", "we would have"]),
    ("mister smith", ["Mr. Smith", "mister Smith", "Mr Smith"]),
    ("okay", ["O.K.", "OK", "okay", "Okay!"]),
    ("usa", ["U.S.A.", "USA", "U S A"]),
    ("api key", ["A P I key", "API key", "A-P-I key"]),
    ("check in", ["check-in", "check in", "Check in"]),
    ("email and wifi", ["e-mail and Wi-Fi", "email & WiFi"]),
    (
        "color center organized gray",
        ["colour centre organised grey", "color center organized gray"],
    ),
    ("favorite neighbor traveled", ["favourite neighbour travelled", "favorite neighbor traveled"]),
    ("cafe", ["café", "cafe", "cafe\u0301"]),
    ("20 please", ["uh twenty um please", "20, please", "[noise] 20 please <unk>"]),
    ("", ["", "  ", "[silence]", "um", "…"]),
]

# Words that a careless rule would change.
UNHARMED = [
    "our hour is four",
    "the install is done",
    "i saw a dog and i ran",
    "oh no",
    "she was pressing the advice of our exercise",
    "your tour of the contour",
    "a lot of wishes",
]


class TestEnglish:
    """Numbers written or spoken, contractions and spelling are equal; nothing else is."""

    @pytest.mark.parametrize(("canonical", "forms"), GOLDEN, ids=[g[0] for g in GOLDEN])
    def test_one_utterance_has_one_form(self, canonical: str, forms: list[str]) -> None:
        """Every way to write the utterance becomes the canonical form."""
        assert {" ".join(normalise(form)) for form in forms} == {canonical}

    @pytest.mark.parametrize("text", UNHARMED)
    def test_plain_words_stay(self, text: str) -> None:
        """Words that resemble a rule's are left alone."""
        assert " ".join(normalise(text)).replace("4", "four") == text

    @pytest.mark.parametrize("canonical", [golden[0] for golden in GOLDEN])
    def test_the_canonical_form_is_its_own(self, canonical: str) -> None:
        """Normalising twice changes nothing."""
        assert " ".join(normalise(canonical)) == canonical

    def test_different_numbers_stay_different(self) -> None:
        """Fifteen is not fifty, 3:15 is not 3:50, $20 is not 20."""
        forms = ["fifteen", "fifty", "3:15", "3:50", "$20", "20", "20%", "20th", "3 pm", "3 am"]
        assert len({normalise(form) for form in forms}) == len(forms)

    def test_three_o_clock_is_not_thirty_clock(self) -> None:
        """The defect of the common normaliser stays out."""
        result = score("three o'clock", "3 o'clock")
        assert isinstance(result, Score)
        assert result.exact

    def test_hesitations_may_be_kept(self) -> None:
        """Dropping fillers is an option, since it is the recogniser's policy."""
        assert normalise("um yes") == ("yes",)
        assert normalise("um yes", drop_fillers=False) == ("um", "yes")

    @given(value=st.integers(0, 999_999))
    def test_a_number_reads_as_its_digits(self, value: int) -> None:
        """Any number below a million, spoken in full, is its numeral."""
        assert normalise(spoken(value)) == normalise(str(value)) == (str(value),)

    @given(text=st.text(max_size=60))
    def test_any_text_is_normalised_and_stays_so(self, text: str) -> None:
        """No text breaks the normaliser, and no token holds a space."""
        for language in ("en", "de", "ja"):
            tokens = normalise(text, language)
            assert all(token and not token.isspace() and " " not in token for token in tokens)


ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
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
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(value: int) -> str:
    """Say a number below a million in full."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")
    if value < 1000:
        rest = f" and {spoken(value % 100)}" if value % 100 else ""
        return f"{ONES[value // 100]} hundred{rest}"
    rest = f" {spoken(value % 1000)}" if value % 1000 else ""
    return f"{spoken(value // 1000)} thousand{rest}"


class TestLanguages:
    """Other languages by case, punctuation and Unicode; scripts without spaces by character."""

    @pytest.mark.parametrize(
        ("language", "one", "other"),
        [
            ("de-DE", "Die Straße, bitte!", "die STRASSE bitte"),
            ("de", "Grüß Gott", "gru\u0308ß gott"),
            ("fr", "L'été, s’il vous plaît.", "l été s il vous plaît"),
            ("es-MX", "¿Dónde está?", "dónde está"),
            ("ja", "今日は、ＡＢＣです。", "今日は ABC です"),
            ("zh-CN", "你好，世界！", "你好 世界"),
        ],
    )
    def test_writing_conventions_are_no_errors(self, language: str, one: str, other: str) -> None:
        """Case, punctuation, width and composition do not count."""
        result = score(one, other, language)
        assert isinstance(result, Score)
        assert result.exact

    def test_an_accent_is_another_word(self) -> None:
        """Accents carry meaning outside English: "él" is not "el"."""
        result = score("él", "el", "es")
        assert isinstance(result, Score)
        assert result.substitutions == 1

    def test_characters_are_the_unit_without_spaces(self) -> None:
        """One wrong character of five is a fifth, not a whole sentence."""
        result = score("今日は晴れ", "今日は雨れ", "ja-JP")
        assert isinstance(result, Score)
        assert (result.unit, result.rate) == ("character", 0.2)
        assert unit_of("en_GB") == "word"
        assert unit_of("cmn-Hans-CN") == "character"


words = st.lists(st.sampled_from(["call", "me", "back", "today", "please", "later"]), max_size=9)


class TestScore:
    """WER = (S + D + I) / N of the least-cost alignment."""

    def test_counts_are_told_apart(self) -> None:
        """One word changed, one left out, one added."""
        result = score(
            "please call me back at seven tonight", "please ring me back seven tonight now"
        )
        assert isinstance(result, Score)
        assert (result.substitutions, result.deletions, result.insertions) == (1, 1, 1)
        assert result.rate == pytest.approx(3 / 7)

    @given(reference=words.filter(bool), hypothesis=words)
    def test_it_is_jiwers_rate(self, reference: list[str], hypothesis: list[str]) -> None:
        """On plain words the rate is jiwer's."""
        result = score(" ".join(reference), " ".join(hypothesis))
        assert isinstance(result, Score)
        assert result.rate == pytest.approx(jiwer.wer(" ".join(reference), " ".join(hypothesis)))

    @given(reference=words, hypothesis=words)
    def test_the_shown_alignment_is_the_counted_one(
        self, reference: list[str], hypothesis: list[str]
    ) -> None:
        """Ops spell both texts in order, and their kinds add up to the counts."""
        ops = align(" ".join(reference), " ".join(hypothesis))
        assert [op.reference for op in ops if op.reference is not None] == reference
        assert [op.hypothesis for op in ops if op.hypothesis is not None] == hypothesis
        result = score(" ".join(reference), " ".join(hypothesis))
        assert isinstance(result, Score)
        kinds = [op.kind for op in ops]
        assert kinds.count("substitute") == result.substitutions
        assert kinds.count("delete") == result.deletions
        assert kinds.count("insert") == result.insertions

    @given(reference=words)
    def test_a_perfect_transcript_has_no_error(self, reference: list[str]) -> None:
        """The reference against itself is exact."""
        result = score(" ".join(reference), " ".join(reference))
        assert isinstance(result, Score)
        assert result.exact

    def test_no_transcript_is_neither_right_nor_wrong(self) -> None:
        """None is missing; a blank transcript deletes every word."""
        assert score("call me", None) == NoTranscript(reference_units=2, unit="word")
        blank = score("call me", " ")
        assert isinstance(blank, Score)
        assert (blank.deletions, blank.rate) == (2, 1.0)

    def test_words_where_none_are_expected_are_insertions(self) -> None:
        """Silence that is transcribed as silence is right, as words it is wrong."""
        for silent in (None, "", " [noise] "):
            quiet = score("", silent)
            assert isinstance(quiet, Score)
            assert quiet.exact
            assert quiet.rate is None
        loud = score("", "thanks for watching")
        assert isinstance(loud, Score)
        assert (loud.insertions, loud.exact) == (3, False)

    def test_an_impossible_score_does_not_exist(self) -> None:
        """More errors than words, or an op with the wrong sides, are refused."""
        with pytest.raises(ValueError, match="more reference"):
            Score(substitutions=2, deletions=0, insertions=0, reference_units=1, unit="word")
        with pytest.raises(ValueError, match="not negative"):
            Score(substitutions=-1, deletions=0, insertions=0, reference_units=1, unit="word")
        with pytest.raises(ValueError, match="wrong sides"):
            Op(kind="insert", reference="a", hypothesis="b")

    def test_the_version_is_stated(self) -> None:
        """A change of the golden cases is a change of this version."""
        assert NORMALISER_VERSION == "2"


def errors(count: int, of: int) -> Score:
    """Make a score of so many substitutions."""
    return Score(substitutions=count, deletions=0, insertions=0, reference_units=of, unit="word")


class TestPooled:
    """The pooled rate weighs words, and resamples utterances."""

    def test_words_weigh_equally(self) -> None:
        """One error in 2 words and none in 8 is 10 %, not 25 %."""
        result = pooled_rate([errors(1, 2), errors(0, 8)])
        assert isinstance(result, Estimate)
        assert result.point == pytest.approx(0.1)

    def test_equal_repeats_do_not_narrow_the_interval(self) -> None:
        """Five equal repeats tell what one performance tells."""
        once = [errors(i % 3, 8) for i in range(12)]
        five = [s for s in once for _ in range(5)]
        alone = pooled_rate(once)
        repeated = pooled_rate(five, clusters=[i // 5 for i in range(60)])
        assert isinstance(alone, Estimate)
        assert isinstance(repeated, Estimate)
        assert isinstance(alone.high, float)
        assert isinstance(repeated.high, float)
        assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.15)

    def test_silence_on_hard_utterances_cannot_win_a_gate(self) -> None:
        """Missing transcripts are left out by name, or counted as deleted words."""
        scores = [errors(0, 8)] * 9 + [NoTranscript(reference_units=8, unit="word")]
        survivors = pooled_rate(scores)
        assert isinstance(survivors, Estimate)
        assert (survivors.point, survivors.failures, survivors.gateable) == (0.0, 1, False)
        assert "of the answered" in survivors.method
        everyone = pooled_rate(scores, missing="delete")
        assert isinstance(everyone, Estimate)
        assert everyone.point == pytest.approx(0.1)
        assert everyone.gateable

    def test_units_are_not_mixed(self) -> None:
        """Characters and words do not add up."""
        other = Score(
            substitutions=0, deletions=0, insertions=0, reference_units=3, unit="character"
        )
        with pytest.raises(ValueError, match="not pooled"):
            pooled_rate([errors(0, 1), other])

    def test_nothing_to_score_is_unsupported(self) -> None:
        """No utterance with words, no rate."""
        assert isinstance(pooled_rate([]), Unsupported)
        assert isinstance(pooled_rate([errors(0, 0), errors(0, 0)]), Unsupported)


class TestSlots:
    """An utterance with slots and no text is judged by what the agent needs."""

    def test_slots_are_heard_in_any_writing(self) -> None:
        """Time, amount and name are found however they are written."""
        heard = "Book Mr. Smith at 3:15 p.m. for $20.50, please."
        slots = {
            "who": "mister smith",
            "when": "three fifteen pm",
            "price": "twenty dollars fifty cents",
        }
        assert slot_recall(slots, heard) == SlotScore(found=("who", "when", "price"), missed=())

    def test_a_wrong_slot_is_missed(self) -> None:
        """Fifty is not fifteen, "pine" is not in "pineapple"."""
        result = slot_recall({"count": "fifteen", "tree": "pine"}, "fifty pineapples")
        assert result.missed == ("count", "tree")
        assert result.recall == 0.0

    def test_any_accepted_value_will_do(self) -> None:
        """A slot may have several right answers."""
        assert slot_recall({"city": ("NYC", "New York")}, "to new york").recall == 1.0

    def test_digits_are_found_inside_a_longer_run(self) -> None:
        """A phone number spoken next to another number is joined to it, and still heard."""
        assert slot_recall({"phone": "555 1212"}, "five five five one two one two 9").recall == 1.0
        assert slot_recall({"count": "12"}, "5551212").recall == 0.0

    def test_characters_are_searched_as_characters(self) -> None:
        """In Japanese a slot is a run of characters."""
        assert slot_recall({"city": "東京"}, "明日、東京へ行きます。", "ja").recall == 1.0

    def test_without_a_transcript_every_slot_is_missed(self) -> None:
        """Silence carries nothing; an utterance without slots has no recall."""
        assert slot_recall({"a": "one"}, None).recall == 0.0
        assert slot_recall({}, "one").recall is None

    def test_recall_is_pooled_over_slots(self) -> None:
        """Two of three slots of one utterance and all of another."""
        result = pooled_slot_recall(
            [SlotScore(found=("a", "b"), missed=("c",)), SlotScore(found=("d",), missed=())]
        )
        assert isinstance(result, Estimate)
        assert result.point == 0.75
