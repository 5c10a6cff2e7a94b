"""One answer to whose certificate is trusted, in checks and in runs."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.authorities import trusted
from harness.cli.shared.endpoints import endpoint_findings
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Via
from harness.pipeline.transport.transport import timed_client
from tests.runner.scripted_performer import suite_of


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Return the certificate of an authority that nobody knows, beside its key."""
    made = tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
            str(tmp_path / "key.pem"), "-out", str(made), "-subj", "/CN=private", "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture
async def server(private: Path) -> AsyncIterator[str]:
    """Yield the address of a server under the private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(private, private.with_name("key.pem"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    started = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with started:
        yield f"https://127.0.0.1:{started.sockets[0].getsockname()[1]}/v1"


@pytest.mark.parametrize("named", [True, False])
async def test_a_private_authority(
    server: str, private: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """With ``SSL_CERT_FILE`` a private authority is trusted, by the check as by the client."""
    trusted.cache_clear()
    if named:
        monkeypatch.setenv("SSL_CERT_FILE", str(private))
    own = StageSettings(provider="openai", options={"base_url": server})
    suite = suite_of("a", candidates=(Candidate(name="a", llm=own),), via=Via.LIVE)
    try:
        (finding,) = await asyncio.to_thread(lambda: list(endpoint_findings(suite)))
        async with timed_client(label=None, timeout_s=5) as client:
            try:
                reached = (await client.get(server)).text == "ok"
            except Exception:  # noqa: BLE001 - the client's own kind
                reached = False
    finally:
        trusted.cache_clear()
    assert (finding.state == "ok", reached) == (named, named), finding.text


def test_help_reads_no_authority() -> None:
    """The authorities are read when the first client is made, not when help is asked for."""
    code = "import harness.cli, sys; sys.exit('harness.authorities' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
