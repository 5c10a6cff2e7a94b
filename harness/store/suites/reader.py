"""Reads the tables of a suite's document; every mistake is gathered, none ends the reading."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.domain.candidate import INTERRUPTION_MODES, Candidate, InterruptionSettings
from harness.domain.providers import PROVIDERS
from harness.domain.suite import (
    Budget,
    BudgetKind,
    Clock,
    DatasetChoice,
    Driver,
    GatewayOptions,
    Limits,
    Price,
    SessionOptions,
    Timeouts,
    Via,
)
from harness.domain.timeline import Stage
from harness.store.shipped import shipped_names
from harness.store.suites.barge_ins import read_barge_in, read_interruption
from harness.store.suites.conditions import read_condition
from harness.store.suites.stages import SCRIPTED_STAGES, read_stage
from harness.store.table import Table

__all__ = ["STATISTICS", "read_fields"]


STATISTICS = ("p50", "p90", "p95", "p99", "mean", "rate")


_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")


_AGENT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


_MOST_LANES = 4
"""On the virtual clock, where their number changes nothing but how soon the run is over."""


def _real(top: Table) -> Clock:
    """Read the clock of a live suite: whoever answers live takes real time, whatever it says."""
    top.enum("clock", Clock.REAL)
    return Clock.REAL


def read_fields(
    top: Table, folder: Path | None, default_name: str, *, strict: bool
) -> dict[str, Any]:
    """Return the fields of a suite; mistakes gather in the table's list.

    Args:
        top: the document.
        folder: where relative paths count from; None leaves them as they are.
        default_name: the name of a suite that states none.
        strict: an unknown key, provider or option is a mistake.
    """
    return _SuiteReader(top, folder, strict=strict).read(default_name)


class _SuiteReader:
    """Reads the tables of one document; mistakes gather in the tables' common list."""

    def __init__(self, top: Table, folder: Path | None, *, strict: bool) -> None:
        self.top = top
        self.folder = folder
        self.strict = strict

    def finish(self, table: Table, also: Iterable[str] = ()) -> None:
        if self.strict:
            table.finish(also)

    def path(self, value: str) -> str:
        """Return a path that holds wherever the run is started; bare shipped names stay."""
        if self.folder is None:
            return value
        try:
            path = self.folder / Path(value).expanduser()
            if not path.exists() and value in shipped_names("datasets"):
                return value
            return str(path.resolve())
        except (OSError, RuntimeError):
            # A name that no file can have, or the home of nobody: whoever opens it tells.
            return value

    def maybe_path(self, table: Table, key: str) -> str | None:
        value = table.maybe_text(key)
        return None if value is None else self.path(value)

    def read(self, default_name: str) -> dict[str, Any]:
        top = self.top
        via = top.enum("via", Via.GATEWAY)
        driver = top.enum("driver", Driver.SESSION)
        # Whoever answers live takes real time, whatever the suite says.
        clock = top.enum("clock", Clock.REAL) if via is Via.GATEWAY else _real(top)
        lanes = min(os.cpu_count() or 1, _MOST_LANES) if clock is Clock.VIRTUAL else 1
        fields: dict[str, Any] = {
            "name": top.text("name", default_name),
            "description": " ".join(top.text("description", " ").split()),
            "driver": driver,
            "via": via,
            "repeats": top.integer("repeats", 1, low=1, high=10_000),
            "warmups": top.integer("warmups", 1, low=0, high=100),
            "seed": top.maybe_integer("seed", low=0),
            "concurrency": top.integer("concurrency", lanes, low=1, high=200),
            "clock": clock,
            "frame_ms": top.integer("frame_ms", 20, low=1),
            "trailing": top.text("trailing", "silence"),
            "stage_texts": top.texts("stage_texts"),
            "wer_limit": top.number("wer_limit", 0.2, low=0),
            "target_ms": top.number("target_ms", 800.0, low=0),
            "keep_audio": top.boolean("keep_audio", default=True),
            "baseline": self.maybe_path(top, "baseline"),
            "conditions": tuple(
                found
                for table in top.tables("condition")
                if (found := read_condition(table, path=self.path, finish=self.finish)) is not None
            ),
            "barge_ins": tuple(
                said
                for table in top.tables("barge_in")
                if (said := read_barge_in(table, path=self.path, finish=self.finish)) is not None
            ),
            "datasets": tuple(self.dataset(table) for table in top.tables("dataset")),
            "intelligibility": (
                read_stage(top.table("intelligibility"), Stage.STT, strict=self.strict)
                if top.has("intelligibility")
                else None
            ),
            "session": self.session(top.table("session")),
            "gateway": self.gateway(top.table("gateway")),
            "timeouts": self.timeouts(top.table("timeouts")),
            "limits": self.limits(top.table("limits")),
            "candidates": self.candidates(driver),
            "budgets": tuple(
                budget
                for table in top.tables("budget")
                if (budget := self.budget(table)) is not None
            ),
            "prices": self.prices(top.table("price")),
        }
        self.finish(top)
        if self.strict and fields["intelligibility"] is not None and not fields["keep_audio"]:
            top.problem(
                "keep_audio",
                "[intelligibility] hears the stored replies; leave keep_audio = false out",
            )
        return fields

    def dataset(self, table: Table) -> DatasetChoice:
        path = table.needed_text("path")
        ids = table.texts("ids")
        for each in sorted({each for each in ids if ids.count(each) > 1}):
            table.problem("ids", f"{each!r} stands twice; name each utterance once")
        limit = table.maybe_integer("limit", low=1)
        skip = table.boolean("skip_unreadable", default=False)
        self.finish(table)
        return DatasetChoice(
            path=self.path(path) if path else "", ids=ids, limit=limit, skip_unreadable=skip
        )

    def session(self, table: Table) -> SessionOptions:
        base = SessionOptions()
        options = SessionOptions(
            preset=table.word("preset", base.preset, ("measure", "livekit-defaults")),
            turn_detection=table.enum("turn_detection", base.turn_detection),
            min_endpointing_delay_s=table.number(
                "min_endpointing_delay_s", base.min_endpointing_delay_s, low=0
            ),
            max_endpointing_delay_s=table.number(
                "max_endpointing_delay_s", base.max_endpointing_delay_s, low=0
            ),
            vad=table.boolean("vad", default=base.vad),
            vad_min_silence_s=table.number("vad_min_silence_s", base.vad_min_silence_s, above=0),
            preemptive_generation=table.boolean(
                "preemptive_generation", default=base.preemptive_generation
            ),
            preemptive_tts=table.boolean("preemptive_tts", default=base.preemptive_tts),
            interruptions=table.boolean("interruptions", default=base.interruptions),
            interruption_mode=table.word(
                "interruption_mode", base.interruption_mode, INTERRUPTION_MODES
            ),
            backchannel_boundary_s=table.number(
                "backchannel_boundary_s", base.backchannel_boundary_s, low=0
            ),
            text_transforms=table.texts("text_transforms"),
            tts_format=table.text("tts_format", base.tts_format),
            max_retries=table.integer("max_retries", base.max_retries, low=0, high=100),
            request_timeout_s=table.number("request_timeout_s", base.request_timeout_s, above=0),
            context=table.word("context", base.context, ("fresh", "growing")),
            connection=table.word("connection", base.connection, ("warm", "cold")),
        )
        if options.min_endpointing_delay_s > options.max_endpointing_delay_s:
            table.problem("min_endpointing_delay_s", "lies above max_endpointing_delay_s")
        if options.turn_detection.value == "vad" and not options.vad:
            table.problem("turn_detection", '"vad" needs vad = true')
        self.finish(table)
        return options

    def gateway(self, table: Table) -> GatewayOptions:
        base = GatewayOptions()
        profiles = table.maybe_text("profiles")
        options = GatewayOptions(
            seed=table.maybe_integer("seed", low=0),
            recogniser=table.word("recogniser", base.recogniser, ("pocketsphinx", "oracle")),
            word_error_rate=table.number("word_error_rate", base.word_error_rate, low=0),
            profiles=None if profiles is None else self.path(profiles),
        )
        if options.word_error_rate > 1:
            table.problem("word_error_rate", f"{options.word_error_rate:g} lies outside 0…1")
        self.finish(table)
        return options

    def timeouts(self, table: Table) -> Timeouts:
        base = Timeouts()
        options = Timeouts(
            connect_s=table.number("connect_s", base.connect_s, above=0),
            transcript_s=table.number("transcript_s", base.transcript_s, above=0),
            reply_s=table.number("reply_s", base.reply_s, above=0),
            playout_s=table.number("playout_s", base.playout_s, above=0),
            boot_s=table.number("boot_s", base.boot_s, above=0),
            hang_up_s=table.maybe_number("hang_up_s", above=0),
        )
        self.finish(table)
        return options

    def limits(self, table: Table) -> Limits:
        options = Limits(
            trials_per_minute=table.maybe_number("trials_per_minute", above=0),
            spend=table.maybe_number("spend", above=0),
            same_failures=table.integer("same_failures", Limits().same_failures, low=1),
        )
        self.finish(table)
        return options

    def prices(self, table: Table) -> Mapping[str, Price]:
        found = {}
        for name in table.rest():
            if self.strict and not self._is_priced(name):
                table.take(name)
                table.problem(
                    name, 'a price is named after what it is for: [price."provider/model"]'
                )
                continue
            inner = table.table(name)
            found[name] = Price(
                per_million_input_tokens=inner.maybe_number("per_million_input_tokens", low=0),
                per_million_output_tokens=inner.maybe_number("per_million_output_tokens", low=0),
                per_million_cached_input_tokens=inner.maybe_number(
                    "per_million_cached_input_tokens", low=0
                ),
                per_audio_minute=inner.maybe_number("per_audio_minute", low=0),
                per_million_characters=inner.maybe_number("per_million_characters", low=0),
            )
            self.finish(inner)
        return MappingProxyType(found)

    @staticmethod
    def _is_priced(name: str) -> bool:
        provider, slash, model = name.partition("/")
        return bool(slash and model and provider in PROVIDERS)

    def candidates(self, driver: Driver) -> tuple[Candidate, ...]:
        base = Candidate.__dataclass_fields__["instructions"].default
        found = []
        for table in self.top.tables("candidate"):
            name = table.needed_text("name")
            if name and not _NAME.fullmatch(name):
                table.problem("name", "has to be one line of at most 80 characters")
            agent = table.maybe_text("agent")
            if agent is not None and not _AGENT.fullmatch(agent):
                table.problem("agent", f'{agent!r} is not of the form "module:function"')
            if agent is not None and driver is Driver.STAGE:
                table.problem("agent", 'an agent needs driver = "session"')
            stages = {
                stage.value: read_stage(table.table(stage.value), stage, strict=self.strict)
                for stage in SCRIPTED_STAGES
                if table.has(stage.value)
            }
            instructions = table.text("instructions", str(base))
            interruption = self.interruption(table) if table.has("interruption") else None
            self.finish(table, also=[stage.value for stage in SCRIPTED_STAGES])
            missing = [each.value for each in SCRIPTED_STAGES if each.value not in stages]
            if agent is None and len(missing) == len(SCRIPTED_STAGES):
                table.problem("stt", "name at least one of stt, llm and tts, or an agent")
                continue
            if agent is None and driver is Driver.SESSION and missing:
                for each in missing:
                    table.problem(
                        each, 'is missing; a session needs stt, llm and tts (or driver = "stage")'
                    )
            found.append(
                Candidate(
                    name=name,
                    agent=agent,
                    instructions=instructions,
                    interruption=interruption,
                    **stages,
                )
            )
        return tuple(found)

    def interruption(self, table: Table) -> InterruptionSettings:
        session = self.top.take("session")
        mode = session.get("interruption_mode") if isinstance(session, Mapping) else None
        return read_interruption(
            table.table("interruption"),
            mode=mode if mode in INTERRUPTION_MODES else INTERRUPTION_MODES[0],
            finish=self.finish,
        )

    def budget(self, table: Table) -> Budget | None:
        metric = table.needed_text("metric")
        if not table.has("statistic"):
            table.problem("statistic", f"is missing; one of {', '.join(STATISTICS)}")
        statistic = table.word("statistic", "p50", STATISTICS)
        absolute = table.maybe_number("max")
        relative = table.maybe_number("max_ratio", above=0)
        increase = table.maybe_number("max_increase", above=0)
        candidate, reference = table.maybe_text("candidate"), table.maybe_text("reference")
        mde = table.maybe_number("mde", above=1)
        required = table.boolean("required", default=True)
        if sum(table.has(key) for key in ("max", "max_ratio", "max_increase")) != 1:
            table.problem(
                "max",
                "give either max (an absolute limit), max_ratio (against …) or max_increase (of a "
                "rate, against …)",
            )
        if table.has("max_increase") and (reference is None or statistic != "rate"):
            table.problem(
                "max_increase", "limits a rate against a reference candidate of the same run"
            )
        if table.has("max_increase") and mde is not None:
            table.problem("mde", "of max_increase is fixed: three points beyond it")
        if table.has("max") and reference is not None:
            table.problem("reference", "only a max_ratio has a reference")
        if candidate is not None and candidate == reference:
            table.problem("reference", f"{reference!r} would be compared with itself")
        self.finish(table)
        limits = {
            BudgetKind.ABSOLUTE: absolute,
            BudgetKind.RELATIVE: relative,
            BudgetKind.INCREASE: increase,
        }
        stated = [(kind, value) for kind, value in limits.items() if value is not None]
        if not stated:
            return None
        kind, limit = stated[0]
        return Budget(
            metric=metric,
            statistic=statistic,
            limit=limit,
            kind=kind,
            candidate=candidate,
            reference=reference,
            mde=mde,
            required=required,
        )
