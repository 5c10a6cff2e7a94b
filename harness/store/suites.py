"""Suite files: TOML in, a legal :class:`~harness.domain.suite.Suite` out, or every mistake at once.

The same document, as JSON, is what a run's plan keeps of its suite, so that there is one form of
it and one reader. Paths in a suite file count from the file's own folder; a bare name is a shipped
dataset. Tables in lists count from 1: ``candidate[1]`` is the first.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.domain.providers import PROVIDERS, StageSpec
from harness.domain.suite import (
    Budget,
    BudgetKind,
    Candidate,
    DatasetChoice,
    Driver,
    GatewayOptions,
    Limits,
    Price,
    SessionOptions,
    StageSettings,
    Suite,
    Timeouts,
    Via,
)
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.store.shipped import shipped_folder, shipped_names
from harness.store.suite_conditions import condition_document, read_condition
from harness.store.table import Table, nearest

__all__ = [
    "STATISTICS",
    "ProfileStages",
    "parse_suite",
    "read_suite",
    "suite_document",
    "suite_path",
]

ProfileStages = Callable[[Path | None], Mapping[str, Collection[Stage]]]
"""Given a file of further gateway profiles or None: each known profile and what it serves."""

STATISTICS = ("p50", "p90", "p95", "p99", "mean", "rate")
SCRIPTED_STAGES = (Stage.STT, Stage.LLM, Stage.TTS)

_STAGE_KEYS = ("provider", "model", "voice", "profile")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_AGENT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def suite_path(name: str | Path) -> Path:
    """Find a suite: a file, or the bare name of a shipped one.

    Raises:
        ConfigurationError: there is neither.
    """
    path = Path(name)
    bare = path.suffix == "" and len(path.parts) == 1
    if path.is_file():
        return path
    if bare:
        shipped = shipped_folder("bench") / f"{path}.toml"
        if shipped.is_file():
            return shipped
        known = shipped_names("bench")
        raise ConfigurationError(
            f"{name}: no suite file and no shipped suite; {nearest(str(path), known)}"
        )
    if path.is_dir():
        raise ConfigurationError(f"{name}: a folder, but a suite is a TOML file")
    raise ConfigurationError(f"{name}: there is no such suite file")


def read_suite(
    name: str | Path,
    *,
    profiles: ProfileStages | None = None,
    metrics: Collection[str] | None = None,
) -> Suite:
    """Read a suite file.

    Args:
        name: a TOML file, or the bare name of a shipped suite.
        profiles: tells the gateway's profiles; None leaves their names unchecked.
        metrics: ids that a budget may name; None leaves them unchecked.

    Raises:
        ConfigurationError: one line for each mistake in the file, ``FILE: KEY: what; the mend``.
    """
    path = suite_path(name)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    return parse_suite(
        document,
        source=str(path),
        folder=path.resolve().parent,
        default_name=path.stem,
        profiles=profiles,
        metrics=metrics,
    )


def parse_suite(
    document: Mapping[str, Any],
    *,
    source: str,
    folder: Path | None = None,
    default_name: str = "suite",
    profiles: ProfileStages | None = None,
    metrics: Collection[str] | None = None,
    strict: bool = True,
) -> Suite:
    """Make a suite from its document.

    Args:
        document: as TOML or JSON gives it.
        source: the file, named in every line about a mistake.
        folder: where relative paths count from; None leaves them as they are.
        default_name: the name of a suite that states none.
        profiles: tells the gateway's profiles; None leaves their names unchecked.
        metrics: ids that a budget may name; None leaves them unchecked.
        strict: an unknown key, provider or option is a mistake; False reads what a newer or older
            version has stored.

    Raises:
        ConfigurationError: one line for each mistake.
    """
    problems: list[str] = []
    top = Table(document, "", problems)
    reader = _SuiteReader(top, folder, strict=strict)
    fields = reader.read(default_name)
    if profiles is not None:
        reader.check_profiles(fields, profiles)
    if metrics is not None:
        reader.check_metrics(fields["budgets"], metrics)
    suite: Suite | None = None
    # The suite's own laws are asked even after other mistakes, so that all are told together;
    # what they say of a key that is known to be wrong already is left out.
    named = {line.split(":", 1)[0] for line in problems}
    try:
        suite = Suite(**fields)
    except ConfigurationError as error:
        problems.extend(
            line for line in error.problems if line not in problems and not _told(line, named)
        )
    if problems or suite is None:
        raise ConfigurationError(f"{source}: {line}" for line in problems)
    return suite


def _told(line: str, named: Collection[str]) -> bool:
    key = line.split(":", 1)[0].split(".", 1)[0]
    return any(each == key or each.startswith((f"{key}[", f"{key}.")) for each in named)


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
        path = self.folder / Path(value).expanduser()
        if not path.exists() and value in shipped_names("datasets"):
            return value
        return str(path.resolve())

    def maybe_path(self, table: Table, key: str) -> str | None:
        value = table.maybe_text(key)
        return None if value is None else self.path(value)

    def read(self, default_name: str) -> dict[str, Any]:
        top = self.top
        via = top.enum("via", Via.GATEWAY)
        driver = top.enum("driver", Driver.SESSION)
        fields: dict[str, Any] = {
            "name": top.text("name", default_name),
            "description": " ".join(top.text("description", " ").split()),
            "driver": driver,
            "via": via,
            "repeats": top.integer("repeats", 1, low=1, high=10_000),
            "warmups": top.integer("warmups", 1, low=0, high=100),
            "seed": top.maybe_integer("seed", low=0),
            "concurrency": top.integer("concurrency", 1, low=1, high=200),
            "frame_ms": top.integer("frame_ms", 20, low=1),
            "trailing": top.text("trailing", "silence"),
            "stage_texts": top.texts("stage_texts"),
            "wer_limit": top.number("wer_limit", 0.2, low=0),
            "keep_audio": top.boolean("keep_audio", default=True),
            "baseline": self.maybe_path(top, "baseline"),
            "conditions": tuple(
                found
                for table in top.tables("condition")
                if (found := read_condition(table, path=self.path, finish=self.finish)) is not None
            ),
            "datasets": tuple(self.dataset(table) for table in top.tables("dataset")),
            "intelligibility": (
                self.stage(top.table("intelligibility"), Stage.STT)
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
                stage.value: self.stage(table.table(stage.value), stage)
                for stage in SCRIPTED_STAGES
                if table.has(stage.value)
            }
            instructions = table.text("instructions", str(base))
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
            found.append(Candidate(name=name, agent=agent, instructions=instructions, **stages))
        return tuple(found)

    def stage(self, table: Table, stage: Stage) -> StageSettings:
        provider = table.needed_text("provider")
        spec: StageSpec | None = None
        if provider and provider in PROVIDERS:
            spec = PROVIDERS[provider].stages.get(stage)
            if spec is None and self.strict:
                able = [name for name, each in PROVIDERS.items() if stage in each.stages]
                table.problem(
                    "provider",
                    f"{provider!r} offers no {stage.value}; these do: {', '.join(sorted(able))}",
                )
        elif provider and self.strict:
            table.problem("provider", f"{provider!r} is unknown; {nearest(provider, PROVIDERS)}")
        model, profile = table.maybe_text("model"), table.maybe_text("profile")
        voice = table.maybe_text("voice")
        if voice is not None and stage is not Stage.TTS:
            table.problem("voice", "only a tts has a voice")
        options = self.options(table, spec)
        return StageSettings(
            provider=provider, model=model, voice=voice, profile=profile, options=options
        )

    def options(self, table: Table, spec: StageSpec | None) -> Mapping[str, Any]:
        """Return every further key, checked against the provider's table where there is one."""
        found: dict[str, Any] = {}
        for key in table.rest():
            kind = spec.options.get(key) if spec is not None else None
            if kind is None:
                value = table.take(key)
                if not self.strict:
                    found[key] = value
                elif spec is not None:
                    known = (*_STAGE_KEYS, *spec.options)
                    table.problem(key, f"unknown key; {nearest(key, known)}")
                continue
            value = _option(table, key, kind)
            if value is not None:
                found[key] = value
        return MappingProxyType(found)

    def budget(self, table: Table) -> Budget | None:
        metric = table.needed_text("metric")
        if not table.has("statistic"):
            table.problem("statistic", f"is missing; one of {', '.join(STATISTICS)}")
        statistic = table.word("statistic", "p50", STATISTICS)
        absolute = table.maybe_number("max")
        relative = table.maybe_number("max_ratio", above=0)
        candidate, reference = table.maybe_text("candidate"), table.maybe_text("reference")
        mde = table.maybe_number("mde", above=1)
        required = table.boolean("required", default=True)
        if table.has("max") == table.has("max_ratio"):
            table.problem("max", "give either max (an absolute limit) or max_ratio (against …)")
        if table.has("max") and reference is not None:
            table.problem("reference", "only a max_ratio has a reference")
        if candidate is not None and candidate == reference:
            table.problem("reference", f"{reference!r} would be compared with itself")
        self.finish(table)
        limit = absolute if absolute is not None else relative
        if limit is None:
            return None
        return Budget(
            metric=metric,
            statistic=statistic,
            limit=limit,
            kind=BudgetKind.ABSOLUTE if absolute is not None else BudgetKind.RELATIVE,
            candidate=candidate,
            reference=reference,
            mde=mde,
            required=required,
        )

    def check_profiles(self, fields: Mapping[str, Any], profiles: ProfileStages) -> None:
        """Note gateway profiles that are unknown or do not serve their stage."""
        file = fields["gateway"].profiles
        try:
            known = profiles(None if file is None else Path(file))
        except ConfigurationError as error:
            self.top.problems.extend(f"gateway.profiles: {line}" for line in error.problems)
            return
        named = [
            (f"candidate[{number}].{stage.value}", table.get(stage.value), stage)
            for number, table in enumerate(_tables(self.top.take("candidate")), start=1)
            for stage in SCRIPTED_STAGES
        ]
        named.append(("intelligibility", self.top.take("intelligibility"), Stage.STT))
        for path, inner, stage in named:
            name = inner.get("profile") if isinstance(inner, Mapping) else None
            if not isinstance(name, str) or not name.strip():
                continue
            where = f"{path}.profile"
            able = [each for each, stages in known.items() if stage in stages]
            if name not in known:
                self.top.problem(where, f"{name!r} is unknown; {nearest(name, able)}")
            elif name not in able:
                self.top.problem(
                    where, f"{name!r} does not serve {stage.value}; {nearest(name, able)}"
                )

    def check_metrics(self, budgets: Iterable[Budget], metrics: Collection[str]) -> None:
        """Note budgets of metrics that do not exist."""
        for number, budget in enumerate(budgets, start=1):
            if budget.metric and budget.metric not in metrics:
                self.top.problem(
                    f"budget[{number}].metric",
                    f"{budget.metric!r} is unknown; {nearest(budget.metric, metrics)}",
                )


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        return []
    return [each if isinstance(each, Mapping) else {} for each in value]


def _option(table: Table, key: str, kind: str) -> Any:
    if kind == "str":
        return table.maybe_text(key)
    if kind == "int":
        return table.maybe_integer(key, low=-(2**31))
    if kind == "float":
        return table.maybe_number(key)
    if kind == "bool":
        return table.boolean(key, default=False)
    if kind == "list":
        return _listed(table, key)
    return _plain(table.take(key)) if _is_table(table, key) else None


def _listed(table: Table, key: str) -> list[Any] | None:
    """Return a list of names or tables, as a provider's own options have it."""
    value = table.take(key)
    if isinstance(value, list) and all(isinstance(each, str | Mapping) for each in value):
        return [_plain(each) for each in value]
    table.problem(key, "has to be a list of texts or tables: [ ... ]")
    return None


def _is_table(table: Table, key: str) -> bool:
    value = table.take(key)
    if isinstance(value, Mapping):
        return True
    table.problem(key, "has to be a table: { name = value }")
    return False


def _plain(value: Any) -> Any:
    """Return a copy of a document's value in dictionaries and lists alone."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def suite_document(suite: Suite) -> dict[str, Any]:
    """Return the document of a suite, complete with defaults; :func:`parse_suite` reads it back."""
    return {
        "name": suite.name,
        **({"description": suite.description} if suite.description else {}),
        "driver": suite.driver.value,
        "via": suite.via.value,
        "repeats": suite.repeats,
        "warmups": suite.warmups,
        **_present(seed=suite.seed),
        "concurrency": suite.concurrency,
        "frame_ms": suite.frame_ms,
        "trailing": suite.trailing,
        "stage_texts": list(suite.stage_texts),
        "wer_limit": suite.wer_limit,
        "keep_audio": suite.keep_audio,
        **_present(baseline=suite.baseline),
        "dataset": [
            {
                "path": each.path,
                "ids": list(each.ids),
                **_present(limit=each.limit, skip_unreadable=each.skip_unreadable or None),
            }
            for each in suite.datasets
        ],
        **(
            {"intelligibility": _stage_document(suite.intelligibility)}
            if suite.intelligibility is not None
            else {}
        ),
        **(
            {"condition": [condition_document(each) for each in suite.conditions]}
            if suite.conditions
            else {}
        ),
        "session": _fields(suite.session),
        "gateway": _fields(suite.gateway),
        "timeouts": _fields(suite.timeouts),
        "limits": _fields(suite.limits),
        "candidate": [_candidate_document(each) for each in suite.candidates],
        "budget": [_budget_document(each) for each in suite.budgets],
        "price": {name: _fields(price) for name, price in suite.prices.items()},
    }


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _fields(value: Any) -> dict[str, Any]:
    found = {}
    for name in value.__dataclass_fields__:
        each = getattr(value, name)
        if each is not None:
            found[name] = list(each) if isinstance(each, tuple) else each
    return found


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": candidate.name,
        "instructions": candidate.instructions,
        **_present(agent=candidate.agent),
    }
    for stage in SCRIPTED_STAGES:
        settings = candidate.stage(stage)
        if settings is not None:
            document[stage.value] = _stage_document(settings)
    return document


def _stage_document(settings: StageSettings) -> dict[str, Any]:
    return {
        **_present(
            provider=settings.provider,
            model=settings.model,
            voice=settings.voice,
            profile=settings.profile,
        ),
        **_plain(settings.options),
    }


def _budget_document(budget: Budget) -> dict[str, Any]:
    key = "max" if budget.kind is BudgetKind.ABSOLUTE else "max_ratio"
    return {
        "metric": budget.metric,
        "statistic": budget.statistic,
        key: budget.limit,
        **_present(candidate=budget.candidate, reference=budget.reference, mde=budget.mde),
        **({} if budget.required else {"required": False}),
    }
