"""The page as text: closed, small, the same each time."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report.charts import draw_charts
from harness.report.html import render_html
from harness.report.page_data import CHUNK, embed_json
from tests.report.samples import HOSTILE, make_view

VIEW = make_view(100)


class Outline(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag's name, its links and its handlers."""
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "action", "data", "poster"}:
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_nothing_is_loaded() -> None:
    """Every link stays in the page or is data; no tag has a handler."""
    outline = Outline(render_html(VIEW, prints=draw_charts(VIEW)))
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert outline.handlers == []
    assert not {"iframe", "object", "embed", "form", "base"} & set(outline.tags)


def test_the_policy_names_each_script() -> None:
    """The policy allows no source but the page's own scripts, by their hash."""
    text = render_html(VIEW)
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    policy = found.group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    for script in re.findall(r"<script>(.*?)</script>", text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    script_source = policy.split("script-src", 1)[1].split(";", 1)[0]
    assert "unsafe" not in script_source


def test_a_thousand_trials_stay_small() -> None:
    """A page of 1,000 trials with waveforms and tokens is under 3 MB."""
    view = make_view(1_000)
    assert len(render_html(view, prints=draw_charts(view)).encode()) < 3_000_000


def test_the_same_view_gives_the_same_page() -> None:
    """Nothing of the page depends on when or where it is made."""
    assert render_html(VIEW, prints=draw_charts(VIEW)) == render_html(
        VIEW, prints=draw_charts(VIEW)
    )


def test_details_are_packed_in_order() -> None:
    """Unpacked, the chunks hold the details of every trial in the table's order."""
    text = render_html(VIEW)
    chunks = re.findall(r'class="chunk">([^<]*)</script>', text)
    unpacked = [
        trial for chunk in chunks for trial in json.loads(gzip.decompress(base64.b64decode(chunk)))
    ]
    assert len(chunks) == -(-len(VIEW.trials) // CHUNK)
    assert [t["t"][0]["y"] for t in unpacked] == [t.turns[0].reply_text for t in VIEW.trials]
    assert [bool(t["t"][0]["b"]) for t in unpacked] == [bool(t.turns[0].bars) for t in VIEW.trials]


@given(st.text(max_size=80))
@settings(max_examples=200)
def test_any_transcript_is_escaped(text: str) -> None:
    """Any text embedded as JSON reads back as itself and holds nothing that ends its element."""
    embedded = str(embed_json([text, HOSTILE]))
    assert not set(embedded) & set("<>&\u2028\u2029")
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        assert json.loads(embedded) == [text, HOSTILE]


@given(st.text(max_size=40))
@settings(max_examples=25, deadline=None)
def test_any_text_leaves_the_page_whole(text: str) -> None:
    """Whatever a name or an error says, the page has the same tags as without it."""
    plain = make_view(10)
    told = replace(
        plain,
        title=text,
        answer=text,
        candidates=tuple(replace(each, name=text) for each in plain.candidates),
        failures=tuple(replace(each, message=text) for each in plain.failures),
    )
    assert Outline(render_html(told)).tags == Outline(render_html(plain)).tags
