"""The shipped profiles and a user's own."""

import pytest

from harness.errors import ConfigurationError
from harness.gateway.profiles.distributions import Constant, Draws, Empirical, Lognormal
from harness.gateway.profiles.faults import STAGE_FAULTS, FaultKind, FaultMix, Stage
from harness.gateway.profiles.files import parse_profiles
from harness.gateway.profiles.profiles import (
    PROFILES,
    LlmProfile,
    Profile,
    SttProfile,
    fault_profile_name,
)


class TestShipped:
    def test_names_of_models_cite_figures(self) -> None:
        """A profile that bears a model's name states its figures and their source, others none."""
        for name, profile in PROFILES.items():
            assert ("@" in name) == (profile.published is not None)
            if profile.published is not None:
                assert profile.published.source
                assert profile.published.assumed

    def test_published_figures_are_those_of_the_distribution(self) -> None:
        """The distribution of the published quantity passes through the published figures."""
        for profile in PROFILES.values():
            if profile.published is None:
                continue
            law = None
            if profile.llm is not None:
                law = profile.llm.first_text
            elif profile.tts is not None:
                law = profile.tts.first_byte
            elif profile.stt is not None:
                law = profile.stt.compute
            assert law == Lognormal(
                p50_ms=profile.published.p50_ms,
                p95_ms=profile.published.p95_ms,
                max_ms=profile.published.max_ms,
            )

    def test_each_fault_of_each_stage_has_a_profile(self) -> None:
        """Every fault that a stage can suffer can be asked for by name, alone and always."""
        for stage, kinds in STAGE_FAULTS.items():
            for kind in kinds:
                profile = PROFILES[fault_profile_name(stage, kind)]
                assert profile.stages == (stage,)
                settings = getattr(profile, stage.value)
                assert settings.faults.rates == ((kind, 1.0),)

    def test_instant_injects_nothing(self) -> None:
        """The instant profile delays no message of the LLM or TTS."""
        instant = PROFILES["instant"]
        assert instant.llm is not None
        assert instant.tts is not None
        for law in (instant.llm.first_text, instant.llm.gap, instant.tts.first_byte):
            assert law.quantile_ns(0.99) == 0


class TestLaws:
    @pytest.mark.parametrize("name", ["", "a/b", "a b", "a?b", "a\nb"])
    def test_a_name_fits_into_a_url(self, name: str) -> None:
        """A profile whose name would break a URL does not exist."""
        with pytest.raises(ValueError, match=r"name|no '/'"):
            Profile(name=name, llm=LlmProfile())

    def test_a_profile_serves_something(self) -> None:
        """A profile without a stage does not exist."""
        with pytest.raises(ValueError, match="at least one"):
            Profile(name="empty")

    def test_a_fault_belongs_to_its_stage(self) -> None:
        """An LLM cannot fall silent like a voice."""
        with pytest.raises(ValueError, match="cannot suffer silent-audio"):
            LlmProfile(faults=FaultMix(rates=((FaultKind.SILENT_AUDIO, 1.0),)))

    def test_endpoints_do_not_split_words(self) -> None:
        """An endpoint after less than 100 ms of silence is refused."""
        with pytest.raises(ValueError, match="splits words"):
            SttProfile(endpoint_silence=Constant(ms=50))

    def test_fault_rates_are_shares(self) -> None:
        """Rates beyond 1, alone or together, are refused, and so is a kind named twice."""
        for rates in (
            ((FaultKind.RESET, 1.1),),
            ((FaultKind.RESET, 0.6), (FaultKind.STALL, 0.6)),
            ((FaultKind.RESET, 0.1), (FaultKind.RESET, 0.1)),
        ):
            with pytest.raises(ValueError, match=r"rate|twice"):
                FaultMix(rates=rates)

    def test_a_fault_can_strike_first_requests_only(self) -> None:
        """With `first`, what is asked again is answered; the mix keeps it when it is narrowed."""
        mix = FaultMix(rates=((FaultKind.RESET, 1.0),), first=2).only(frozenset({FaultKind.RESET}))
        found = [
            mix.draw(Draws(seed=1, stage="llm", key=f"k-{before}", before=before))
            for before in range(4)
        ]
        assert found == [FaultKind.RESET, FaultKind.RESET, None, None]
        with pytest.raises(ValueError, match="first"):
            FaultMix(first=0)

    def test_faults_strike_at_their_rates(self) -> None:
        """Over 4000 requests each fault strikes as often as the mix says."""
        mix = FaultMix(rates=((FaultKind.RESET, 0.1), (FaultKind.STALL, 0.05)))
        struck = [
            mix.draw(Draws(seed=1, stage=Stage.LLM, key=str(number))) for number in range(4000)
        ]
        assert struck.count(FaultKind.RESET) / 4000 == pytest.approx(0.1, abs=0.019)
        assert struck.count(FaultKind.STALL) / 4000 == pytest.approx(0.05, abs=0.0138)


_GOOD = """
["my-llm".llm]
first_text = { p50_ms = 300, p95_ms = 700, max_ms = 4000 }
gap = 12
role_chunk = "with-text"
reasoning = { first = 150, gap = 20 }
faults = { rates = { rate-limited = 0.01 }, retry_after_s = 1 }

["my-tts".tts]
first_byte = { values_ms = [110, 120, 180] }
realtime_factor = 0.2
voices = ["one", "two"]

["slower-kimi"]
base = "kimi-k2.6@baseten"
[slower-kimi.llm]
gap = 50
"""

_BAD = """
["a".llm]
first_txt = 3
gap = "fast"
reasoning = { first = 1, gap = 0 }
faults = { rates = { rate-limitd = 1 } }
["b"]
base = "exakt"
["c".tts]
realtime_factor = -1
["exact".llm]
gap = 1
["d".sst]
x = 1
["e".stt]
recogniser = "whisper"
endpoint_silence = 10
["f"]
note = "serves nothing"
"""


class TestFiles:
    def test_a_file_says_what_differs(self) -> None:
        """Keys of the file are taken, the rest is the default or the base's."""
        profiles = parse_profiles(_GOOD, "mine.toml", PROFILES)
        llm, tts = profiles["my-llm"].llm, profiles["my-tts"].tts
        kimi = PROFILES["kimi-k2.6@baseten"].llm
        slower = profiles["slower-kimi"].llm
        assert llm is not None
        assert tts is not None
        assert slower is not None
        assert kimi is not None
        assert llm.first_text == Lognormal(p50_ms=300, p95_ms=700, max_ms=4000)
        assert llm.role_chunk == "with-text"
        assert llm.reasoning is not None
        assert llm.faults.rates == ((FaultKind.RATE_LIMITED, 0.01),)
        assert tts.first_byte == Empirical(values_ms=(110, 120, 180))
        assert tts.voices == ("one", "two")
        assert slower.first_text == kimi.first_text
        assert slower.gap == Constant(ms=50)
        # Changed figures are no longer the published ones.
        assert profiles["slower-kimi"].published is None

    def test_all_mistakes_are_reported_together(self) -> None:
        """Each mistake of a file is a line that names its place."""
        with pytest.raises(ConfigurationError) as caught:
            parse_profiles(_BAD, "bad.toml", PROFILES)
        problems = "\n".join(caught.value.problems)
        for part in (
            "a.llm.first_txt: unknown key; did you mean 'first_text'?",
            "a.llm.gap: must be milliseconds",
            "a.llm.reasoning: the gap of reasoning must be above 0",
            "a.llm.faults: unknown fault 'rate-limitd'; did you mean 'rate-limited'?",
            "b.base: no profile 'exakt'; did you mean 'exact'?",
            "c.tts: realtime_factor must lie within 0 and 10",
            "exact: a shipped profile has this name",
            "d.sst: unknown key; did you mean 'stt'?",
            "e.stt.recogniser: must be pocketsphinx or oracle, not 'whisper'",
            "f: a profile serves at least one",
        ):
            assert part in problems
        assert all(line.startswith("bad.toml: ") for line in caught.value.problems)

    def test_what_is_no_toml_is_said_so(self) -> None:
        """A file that does not parse is one line."""
        with pytest.raises(ConfigurationError, match=r"x\.toml: not TOML"):
            parse_profiles("a = = 1", "x.toml", PROFILES)
