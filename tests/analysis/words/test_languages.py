"""Languages beside English: golden cases of the normaliser, and numbers spoken in full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.words.european import FILLERS_OF
from harness.analysis.words.transcript import Score, normalise, score, unit_of

# Each row is one utterance as people and recognisers write it, and the form they share.
GOLDEN = {
    "de": [
        ("21", ["einundzwanzig", "21", "Einundzwanzig."]),
        ("2024", ["zweitausendvierundzwanzig", "2024", "zweitausendundvierundzwanzig"]),
        ("1984", ["neunzehnhundertvierundachtzig", "1984"]),
        ("2500", ["zweitausendfünfhundert", "2500", "2.500"]),
        ("1000000", ["1.000.000", "1000000"]),
        ("105 gäste", ["hundertfünf Gäste", "einhundertfünf Gäste", "105 Gäste"]),
        ("30 minuten", ["dreißig Minuten", "dreissig Minuten", "30 Minuten"]),
        ("um 15 uhr 30", ["um 15:30 Uhr", "um fünfzehn Uhr dreißig", "um 15.30 Uhr", "um 15:30"]),
        ("um 8 uhr", ["um acht Uhr", "um 8 Uhr", "um 8:00 Uhr", "um 8:00"]),
        ("um 1 uhr", ["um ein Uhr", "um 1 Uhr"]),
        ("am 3te mai", ["am 3. Mai", "am dritten Mai", "am dritten mai"]),
        ("am 21te märz 2025", ["am 21. März 2025", "am einundzwanzigsten März 2025"]),
        ("am 3te 4te 2024", ["am 3.4.2024", "am 3. 4. 2024", "am dritten vierten 2024"]),
        ("3,5 prozent", ["3,5 %", "drei Komma fünf Prozent", "3,5%"]),
        ("0,25 liter", ["0,25 Liter", "null Komma zwei fünf Liter"]),
        ("1,5 stunden", ["anderthalb Stunden", "eineinhalb Stunden", "1,5 Stunden"]),
        ("2,5 kilo", ["zweieinhalb Kilo", "2,5 Kilo"]),
        ("20 euro 50", ["20,50 €", "zwanzig Euro fünfzig", "20,50 Euro", "€ 20,50"]),
        ("0301234", ["0 30 12 34", "null drei null zwölf vierunddreißig", "030 1234"]),
        ("der 1te tag", ["der erste Tag", "Der erste Tag"]),
        ("ein tisch für 2", ["ein Tisch für zwei", "Ein Tisch für 2!"]),
        ("straße".casefold(), ["Straße", "STRASSE"]),
        ("ich möchte das", ["ähm, ich möchte das", "ich möchte äh das"]),
    ],
    "fr": [
        ("21", ["vingt et un", "vingt-et-un", "21"]),
        ("71", ["soixante et onze", "soixante-et-onze", "71", "septante et un"]),
        ("80", ["quatre-vingts", "quatre vingt", "80", "huitante"]),
        ("97", ["quatre-vingt-dix-sept", "97", "nonante-sept"]),
        ("200", ["deux cents", "200", "deux cent"]),
        ("2500", ["deux mille cinq cents", "2500", "2 500", "2\u202f500"]),
        ("1984", ["mille neuf cent quatre-vingt-quatre", "1984"]),
        ("3000000", ["trois millions", "3 000 000"]),
        ("à 15 heures 30", ["à 15h30", "à quinze heures trente", "à 15 h 30", "à 15:30"]),
        ("à 8 heures", ["à huit heures", "à 8h", "à 8 heures", "à 8h00"]),
        ("à 1 heures", ["à une heure", "à 1 heure", "à 1h"]),
        ("3,5 pourcent", ["3,5 %", "trois virgule cinq pour cent", "3,5%"]),
        ("100 pourcent", ["cent pour cent", "100 %"]),
        ("20 euros 50", ["20,50 €", "vingt euros cinquante", "20,50 euros"]),
        ("le 1e mai", ["le premier mai", "le 1er mai"]),
        ("la 3e rue", ["la troisième rue", "la 3e rue", "la 3ème rue"]),
        ("0612345678", ["06 12 34 56 78", "zéro six douze trente-quatre cinquante-six 78"]),
        ("un café", ["un café", "Un café."]),
        ("l été s il vous plaît", ["L'été, s’il vous plaît.", "l été s il vous plaît"]),
        ("quelle heure est il", ["quelle heure est-il", "quelle heure est il ?"]),
        ("je voudrais", ["euh je voudrais", "je, euh, voudrais"]),
    ],
    "es": [
        ("35", ["treinta y cinco", "35"]),
        ("22", ["veintidós", "22"]),
        ("101", ["ciento uno", "101"]),
        ("500 personas", ["quinientas personas", "500 personas"]),
        ("2500", ["dos mil quinientos", "2500", "2.500", "2,500"]),
        ("1984", ["mil novecientos ochenta y cuatro", "1984"]),
        ("3000000", ["tres millones", "3.000.000"]),
        ("a las 1530", ["a las 15:30", "a las quince treinta"]),
        ("a las 3", ["a las tres", "a las 3:00", "a las 3"]),
        ("a la 1", ["a la una", "a la 1"]),
        ("3,5 porciento", ["3,5 %", "tres coma cinco por ciento", "3.5%", "tres punto cinco %"]),
        ("20 euros", ["20 €", "veinte euros", "€20"]),
        ("una mesa para 4", ["una mesa para cuatro", "Una mesa para 4."]),
        ("dónde está", ["¿Dónde está?", "dónde está"]),
        ("quiero", ["eh, quiero", "quiero"]),
    ],
    "ja": [
        ("今日はabcです", ["今日は、ＡＢＣです。", "今日は ABC です"]),
        ("客観的実在の判断的知識", ["客観的実在の判断的知識", "客観的 実在の 判断的知識。"]),
        ("ガス", ["ガス", "ｶﾞｽ"]),
        ("10時", ["１０時", "10時"]),
    ],
    "zh": [
        ("你好世界", ["你好，世界！", "你好 世界"]),
        ("广州市房地产", ["广州市房地产", "广州市 房地产。"]),
        ("打开wifi", ["打开ＷｉＦｉ", "打开 wifi"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "shared", "written"),
    [(language, shared, each) for language, rows in GOLDEN.items() for shared, each in rows],
)
def test_golden(language: str, shared: str, written: list[str]) -> None:
    """What is written differently for the same words has one form, and scores no error."""
    for each in written:
        joined = ("" if unit_of(language) == "character" else " ").join(normalise(each, language))
        assert joined == shared, each
        found = score(written[0], each, f"{language}-XX")
        assert isinstance(found, Score)
        assert found.exact


@pytest.mark.parametrize(
    ("language", "said", "heard"),
    [
        ("de", "dreizehn", "dreißig"),
        ("de", "zwei Euro", "drei Euro"),
        ("de", "ein Mann", "kein Mann"),
        ("fr", "soixante-dix", "soixante"),
        ("fr", "deux heures", "douze heures"),
        ("es", "sesenta", "setenta"),
        ("es", "él", "el"),
        ("ja", "雨", "晴"),
        ("zh", "四", "十"),
    ],
)
def test_other_words_stay_errors(language: str, said: str, heard: str) -> None:
    """Words that are mistaken for each other are not united by the normaliser."""
    found = score(said, heard, language)
    assert isinstance(found, Score)
    assert found.errors == 1


def test_what_is_not_united_is_stated() -> None:
    """The limits that the module names hold: they are errors, and known."""
    for language, one, other in (
        ("de", "halb vier", "15:30"),
        ("fr", "une minute", "1 minute"),
        ("es", "el primero", "el 1º"),
        ("ja", "三時", "3時"),
        ("zh", "三点", "3点"),
    ):
        found = score(one, other, language)
        assert isinstance(found, Score)
        assert not found.exact


def test_fillers_are_kept_on_demand() -> None:
    """Hesitations are left out unless they are what is asked for."""
    for language, fillers in FILLERS_OF.items():
        for filler in fillers:
            assert normalise(filler, language) == ()
            assert normalise(filler, language, drop_fillers=False) == (filler,)


@given(
    st.sampled_from(["de", "fr", "es", "ja", "zh"]),
    st.text(
        st.sampled_from("0123456789.,:%€ -ehtundzwaigcqlsrvüöäéèªº½²名三\u202f\u00a0\u0301"),
        max_size=40,
    ),
)
def test_any_text_is_normalised(language: str, text: str) -> None:
    """No text breaks the normaliser; a token holds no space, and equal texts never differ."""
    tokens = normalise(text, language)
    assert all(token and not any(c.isspace() for c in token) for token in tokens)
    found = score(text, text, language)
    assert not isinstance(found, Score) or found.exact


DE = [
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
]
DE += ["fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"]
DE_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
FR = [
    "zéro",
    "un",
    "deux",
    "trois",
    "quatre",
    "cinq",
    "six",
    "sept",
    "huit",
    "neuf",
    "dix",
    "onze",
    "douze",
    "treize",
    "quatorze",
]
FR += ["quinze", "seize", "dix-sept", "dix-huit", "dix-neuf"]
FR_TENS = ["vingt", "trente", "quarante", "cinquante", "soixante"]
ES = [
    "cero",
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
]
ES += [
    "quince",
    "dieciséis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiuno",
    "veintidós",
]
ES += [
    "veintitrés",
    "veinticuatro",
    "veinticinco",
    "veintiséis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
]
ES_TENS = ["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
ES_HUNDREDS = ["ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos"]
ES_HUNDREDS += ["setecientos", "ochocientos", "novecientos"]


def german(value: int) -> str:
    """Say a number below a million in German."""
    if value >= 1000:
        many, rest = divmod(value, 1000)
        return (german(many) if many > 1 else "ein").removesuffix("s" * (many % 100 == 1)) + (
            f"tausend{german(rest) if rest else ''}"
        )
    if value >= 100:
        many, rest = divmod(value, 100)
        return f"{'ein' if many == 1 else DE[many]}hundert{german(rest) if rest else ''}"
    if value < 20:
        return DE[value]
    tens, unit = DE_TENS[value // 10 - 2], value % 10
    return f"{'ein' if unit == 1 else DE[unit]}und{tens}" if unit else tens


def french(value: int) -> str:
    """Say a number below a million in French."""
    if value >= 1000:
        many, rest = divmod(value, 1000)
        head = "mille" if many == 1 else f"{french(many)} mille"
        return f"{head} {french(rest)}" if rest else head
    if value >= 100:
        many, rest = divmod(value, 100)
        head = "cent" if many == 1 else f"{FR[many]} cent{'' if rest else 's'}"
        return f"{head} {french(rest)}" if rest else head
    if value < 20:
        return FR[value]
    if value >= 80:
        return f"quatre-vingt-{FR[value - 80]}" if value > 80 else "quatre-vingts"
    if value >= 60:
        rest = value - 60
        return f"soixante{' et ' if rest in (1, 11) else '-'}{FR[rest]}" if rest else "soixante"
    tens, unit = FR_TENS[value // 10 - 2], value % 10
    return f"{tens}{' et un' if unit == 1 else '-' + FR[unit]}" if unit else tens


def spanish(value: int) -> str:
    """Say a number below a million in Spanish."""
    if value >= 1000:
        many, rest = divmod(value, 1000)
        head = "mil" if many == 1 else f"{spanish(many)} mil"
        return f"{head} {spanish(rest)}" if rest else head
    if value == 100:
        return "cien"
    if value > 100:
        many, rest = divmod(value, 100)
        return f"{ES_HUNDREDS[many - 1]} {spanish(rest)}" if rest else ES_HUNDREDS[many - 1]
    if value < 30:
        return ES[value]
    tens, unit = ES_TENS[value // 10 - 3], value % 10
    return f"{tens} y {ES[unit]}" if unit else tens


@pytest.mark.parametrize(("language", "say"), [("de", german), ("fr", french), ("es", spanish)])
def test_every_number_to_a_thousand(language: str, say: object) -> None:
    """Each number from 0 to 2,100 but the article, spoken in full, is its numeral."""
    assert callable(say)
    for value in range(2_101):
        if language == "fr" and value == 1:
            continue
        assert normalise(say(value), language) == (str(value),), say(value)


@given(st.integers(2_000, 999_999))
def test_a_number_reads_as_its_digits(value: int) -> None:
    """Any number below a million, spoken in full, is its numeral, grouped or not."""
    for language, say in (("de", german), ("fr", french), ("es", spanish)):
        grouped = f"{value:,}".replace(",", " " if language == "fr" else ".")
        spoken = normalise(say(value), language)
        assert spoken == normalise(str(value), language) == normalise(grouped, language)
        assert spoken == (str(value),)
