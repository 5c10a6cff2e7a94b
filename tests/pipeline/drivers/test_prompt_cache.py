"""Prompt caches are met knowingly: as they are, or so that none can serve."""

import itertools
from collections.abc import Iterator

import pytest
from livekit.agents import llm

from harness.analysis.turn.usage import tokens_of
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.transport.caches import busted, nonce_of
from tests.pipeline.playing import DATASET, play, playable

PROFILES = """
["caching"]
base = "exact"
["caching".llm]
prompt_cache = { saving = 0.8, min_tokens = 8, block_tokens = 4 }
"""
INJECTED_MS = 200
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def caching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a profile that keeps prompts."""
    profiles = tmp_path_factory.mktemp("caches") / "profiles.toml"
    profiles.write_text(PROFILES, encoding="utf-8")
    config = GatewayConfig(
        seed=3, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=profiles
    )
    with start_gateway(config) as process:
        yield process


async def _asked(gateway: GatewayProcess, provider: str, cache: str) -> list[Request]:
    """Ask the same twice; each candidate has a prompt of its own."""
    chosen = Candidate(
        name=f"{provider} {cache}",
        llm=StageSettings(provider=provider, profile="caching", cache=cache),
        # A test that is repeated meets no prompt of the first time.
        instructions=f"{next(_NUMBERS)} times {provider}, {cache}: answer in one short sentence.",
    )
    utterances = [playable("slt-stop"), playable("slt-stop")]
    root = f"http://127.0.0.1:{gateway.port}"
    trials = await play(root, gateway.key, chosen, utterances, performer=StagePerformer)
    found = []
    for trial in trials:
        assert isinstance(trial, Trial), trial.failure
        found += [each for each in trial.turns[0].requests if each.stage is Stage.LLM]
    return found


def _took_ms(request: Request) -> float:
    return (request.marks[Mark.LLM_TEXT_RECEIVED] - request.marks[Mark.LLM_SENT]) / 1e6


@pytest.mark.realtime
@pytest.mark.parametrize("provider", ["openadapter", "openai", "livekit", "baseten"])
async def test_what_a_cache_does(caching: GatewayProcess, provider: str) -> None:
    """As it is, the second prompt is served from the cache, and sooner; busted, it is not.

    The cached tokens stand in the usage, the nonce of a busted prompt in the facts.
    """
    first, second = await _asked(caching, provider, "as-is")
    before, after = tokens_of(first), tokens_of(second)
    assert before is not None
    assert after is not None
    assert before.cached == 0
    assert after.cached is not None
    assert after.sent - 4 < after.cached <= after.sent
    assert _took_ms(second) < 0.75 * INJECTED_MS
    assert "cache_nonce" not in second.facts
    alone = await _asked(caching, provider, "bust")
    for request in alone:
        used = tokens_of(request)
        assert used is not None
        assert used.cached == 0
        assert _took_ms(request) >= 0.85 * INJECTED_MS
    assert alone[0].facts["cache_nonce"] != alone[1].facts["cache_nonce"]


def test_nonces_are_the_run_s_own() -> None:
    """A nonce is the same for the same request of the same run, and for no other."""
    base = ("run", "candidate", "t00001", 0)
    others = [
        ("again", "candidate", "t00001", 0),
        ("run", "other", "t00001", 0),
        ("run", "candidate", "t00001-1", 0),
        ("run", "candidate", "t00001", 1),
    ]
    assert nonce_of(*base) == nonce_of(*base)
    assert len({nonce_of(*each) for each in (base, *others)}) == 5
    assert len(nonce_of(*base)) == 12


def test_the_nonce_comes_first() -> None:
    """It stands before the first word of the prompt, and the agent's own context is as before."""
    context = llm.ChatContext.empty()
    context.add_message(role="system", content="Be brief.")
    context.add_message(role="user", content="Hello")
    found = busted(context, "0123456789ab")
    messages, _ = found.to_provider_format("openai")
    assert messages[0] == {"role": "system", "content": "[0123456789ab]\nBe brief."}
    assert messages[1]["content"] == "Hello"
    plain, _ = context.to_provider_format("openai")
    assert plain[0]["content"] == "Be brief."


def test_a_prompt_without_a_system_message() -> None:
    """The nonce is a system message of its own where the conversation has none."""
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    messages, _ = busted(context, "0123456789ab").to_provider_format("openai")
    assert [each["content"] for each in messages] == ["[0123456789ab]", "Hello"]
