"""The tables of a run and their columns: literal data, from which documents and types are made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.analysis.turn.definitions import METRICS
from harness.domain.timeline import Mark, Stage
from harness.report.export import metric_column

__all__ = ["TABLES", "Column", "Table", "TableName", "document"]

TableName = Literal["trials", "turns", "requests", "parts", "summary"]
Kind = Literal["string", "Float64", "Int64", "boolean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: unique within its table; times end in their unit.
        kind: pandas' name of its type; each of these knows missing values.
        unit: of its numbers; "" where there is none.
        meaning: what it says, and of what.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a run.

    Attributes:
        name: the method that returns it.
        row: what one row is.
        index: the columns that name a row; no two rows have the same.
        columns: all, those of the index included, in the order of the exports.
    """

    name: TableName
    row: str
    index: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The type of each column by its name."""
        return {column.name: column.kind for column in self.columns}


def _text(name: str, meaning: str) -> Column:
    return Column(name=name, kind="string", unit="", meaning=meaning)


def _number(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, kind="Float64", unit=unit, meaning=meaning)


def _count(name: str, meaning: str) -> Column:
    return Column(name=name, kind="Int64", unit="", meaning=meaning)


def _flag(name: str, meaning: str) -> Column:
    return Column(name=name, kind="boolean", unit="", meaning=meaning)


_TRIAL = _text("trial", "the trial's name within the run, as `turnbench show` takes it")
_CLOCK = _text("clock", '"real", or "virtual": waits are exact, Python\'s own work takes no time')
_TURN = _count("turn", "0 for the trial's first turn")
_STAGES = (Stage.STT, Stage.LLM, Stage.TTS)


def _metrics() -> Iterator[Column]:
    for metric in METRICS.values():
        name, meaning = metric_column(metric.id, metric.unit), f"{metric.title}, of the first turn"
        if metric.unit == "count":
            yield _count(name, meaning)
        else:
            yield _number(name, "share of 1" if metric.unit == "rate" else metric.unit, meaning)


def _provided() -> Iterator[Column]:
    for stage in _STAGES:
        name, title = stage.value, stage.value.upper()
        yield _text(f"{name}_endpoint", f"the {title}'s host")
        yield _text(f"{name}_model", f"the model that the {title} says it is")
        yield _text(f"{name}_served_by", f"the provider that says it answered for the {title}")
        yield _text(f"{name}_request_id", f"the provider's name of the {title}'s request")
        yield _flag(f"{name}_reused", f"no connection was opened for the {title}'s request")
        yield _number(f"{name}_rtt_ms", "ms", f"least round trip of the {title}'s connection")
        yield _number(f"{name}_connect_ms", "ms", f"TCP's handshake, where the {title} opened one")
        yield _count(f"{name}_attempts", f"attempts at the {title}'s request, 1 where one did")
        if stage is Stage.LLM:
            yield _count("llm_input_tokens", "tokens of the trial's prompts, cached ones included")
            yield _count("llm_output_tokens", "tokens of the trial's answers, reasoning included")
            yield _count("llm_cached_tokens", "tokens of the prompts that a cache served")
            continue
        if stage is Stage.TTS:
            yield _count("tts_characters", "characters that were sent to be spoken")
        yield _number(f"{name}_audio_s", "s", f"audio that the trial's {title} requests carried")


_TRIALS = Table(
    name="trials",
    row="one trial of the run: warm-ups, failures and re-runs included",
    index=("trial",),
    columns=(
        _text("run", "the run's name"),
        _TRIAL,
        _text("candidate", 'its name in the suite, with "(emulated)" where a gateway answered'),
        _text("voice", "the voice that the suite asks for"),
        _text("utterance", "the utterance's id in its dataset"),
        _text("condition", "the acoustic condition"),
        _text("barge_in", "what was to be said over the reply"),
        _count("repeat", "0 for the first performance of the utterance by the candidate"),
        _count("order", "position in the run's shuffled plan"),
        _count("attempt", "0, or the number of the re-run of a disturbed trial"),
        _text("driver", '"session", or "stage" for each stage alone'),
        _text(
            "status", '"answered", "disturbed", "failed", "warm-up" or "re-run" (measured again)'
        ),
        _flag("counted", "it stands behind the run's figures"),
        _text("failure", 'stage and kind, such as "llm · timeout"'),
        _text("note", "why it failed, or what disturbed it"),
        _text("tags", "condition, language, speaker and the dataset's tags"),
        _flag("emulated", "a gateway answered for a stage of the candidate"),
        _CLOCK,
        *_metrics(),
        _flag("cold", "the first trial on a connection of its candidate"),
        *_provided(),
        _number("cost", "the suite's currency", "of the trial's requests, by the suite's prices"),
    ),
)

_TURNS = Table(
    name="turns",
    row="one turn of a trial, as far as it came",
    index=("trial", "turn"),
    columns=(
        _TRIAL,
        _TURN,
        _text("utterance", "the utterance's id in its dataset"),
        _text("reference", "what the user says, by the dataset"),
        _text("heard", "the final transcripts up to the commit, joined"),
        _text("heard_late", "the final transcripts after the commit, joined"),
        _text("answer", "the answer's text; those of several requests joined"),
        _number("reply_s", "s", "length of the reply's audio"),
        _number("leading_silence_ms", "ms", "silence at the start of the reply's audio"),
        _count("underruns", "times that playout ran dry within the reply"),
        _number("underruns_ms", "ms", "for how long in total"),
        _flag("interrupted", "the reply did not play to its end"),
        _text("audio", "the reply's file within the run's folder"),
        *(
            _number(
                f"{mark.value}_ms",
                "ms",
                f"mark `{mark.value}`, from `speech_end` (without speech: the trial's start)",
            )
            for mark in Mark
        ),
    ),
)

_REQUESTS = Table(
    name="requests",
    row="one call of a provider within a turn, dropped ones included",
    index=("trial", "turn", "request"),
    columns=(
        _TRIAL,
        _TURN,
        _text("request", "the request's name within its turn"),
        _text("stage", '"stt", "llm", "tts" or "interruption"'),
        _text("cause", "why it was made"),
        _text("parent", "the request that led to it"),
        _flag("cancelled", "the agent dropped it before its end"),
        _number("start_ms", "ms", "when it was made, from `speech_end` (or the trial's start)"),
        _number("first_ms", "ms", "when the first piece of its response arrived, likewise"),
        _number("end_ms", "ms", "when its response ended, likewise"),
        _count("pieces", "pieces of its response"),
        _text("text", "what was sent to be spoken, or what the LLM answered"),
        _text("endpoint", "the host that it went to"),
        _text("model", "the model that says it answered"),
        _text("served_by", "the provider that says it answered"),
        _text("request_id", "the provider's name of it"),
        _flag("reused", "no connection was opened for it"),
        _number("rtt_ms", "ms", "least round trip of its connection"),
        _number("connect_ms", "ms", "TCP's handshake, where one was made"),
        _count("attempts", "1 where the first attempt did"),
        _count("input_tokens", "tokens of the prompt, cached ones included"),
        _count("output_tokens", "tokens of the answer, reasoning included"),
        _count("cached_tokens", "tokens of the prompt that a cache served"),
        _number("audio_s", "s", "audio that it carried"),
        _text("failure", "how it failed"),
        _text("message", "what was said of the failure"),
        _count("http_status", "HTTP status or WebSocket close code of the failure"),
    ),
)

_PARTS = Table(
    name="parts",
    row="one part of a turn's waterfall; a turn's parts sum to its response",
    index=("trial", "turn", "part"),
    columns=(
        _TRIAL,
        _TURN,
        _count("part", "0 for the first, in order of time"),
        _text("name", "stable over trials; may stand several times in one waterfall"),
        _text("title", "the same in words"),
        _text("stage", "the stage to blame"),
        _text("kind", '"provider", "client", "wait" or "unattributed"'),
        _number("start_ms", "ms", "from the end of speech"),
        _number("end_ms", "ms", "from the end of speech"),
        _number("length_ms", "ms", "negative only where the agent answered before its time"),
    ),
)

_SUMMARY = Table(
    name="summary",
    row="one statistic of one metric of one candidate, as the report estimates it",
    index=("candidate", "metric", "statistic"),
    columns=(
        _text("candidate", "as in `trials`"),
        _text("metric", 'its id, or "failures"'),
        _text("statistic", '"p50", "p90", "p95", "p99", "mean", "pooled" (words) or "rate"'),
        _text("unit", 'of point, low and high; "rate" is a share of 1'),
        _number("point", "`unit`", "the estimate; missing where `reason` says why"),
        _number("low", "`unit`", "the interval's lower end; missing where it has none"),
        _number("high", "`unit`", "its upper end; missing where it lies among the failures"),
        _number("confidence", "share of 1", "nominal coverage of the interval"),
        _count("n", "trials behind it, failures included"),
        _number("effective_n", "", "how many independent trials they are worth"),
        _count("failures", "how many of them failed"),
        _text("method", "statistic and interval by name"),
        _text("reason", "why there is no point, or no end of the interval"),
        _flag("emulated", "a gateway answered for the metric's stages"),
        _CLOCK,
    ),
)

TABLES: Mapping[TableName, Table] = MappingProxyType(
    {table.name: table for table in (_TRIALS, _TURNS, _REQUESTS, _PARTS, _SUMMARY)}
)
"""Every table by its name."""


def document() -> str:
    """Return the tables and their columns as Markdown: the whole of ``bench/COLUMNS.md``."""
    lines = [
        "# Columns",
        "",
        "The tables of `harness.load(RUN)`; `turnbench report RUN --format csv --table NAME` (or",
        "`parquet`) writes them. What is missing is missing (`<NA>`, an empty cell, null): never",
        "0, -1 or NaN; an empty text is missing too. Metrics and marks are defined in",
        "[METHODOLOGY](METHODOLOGY.md). `python -m harness.frames.columns` writes this page.",
    ]
    for table in TABLES.values():
        keys = ", ".join(f"`{name}`" for name in table.index)
        lines += [
            "",
            f"## {table.name}",
            "",
            f"{table.row[:1].upper()}{table.row[1:]}. Index: {keys}.",
            "",
            "| column | type | unit | meaning |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{each.name}` | {each.kind} | {each.unit} | {each.meaning} |"
            for each in table.columns
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())
