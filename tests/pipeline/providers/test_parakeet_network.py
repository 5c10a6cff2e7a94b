"""The ways to a Parakeet server: TLS, proxies, and giving up on the way."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from livekit.agents import APIConnectionError, APIStatusError

from harness.pipeline.providers.parakeet import wire as parakeet_wire
from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from harness.pipeline.recording.observer import SttRecorder
from tests.pipeline.providers.parakeet_client import (
    KEY,
    ONCE,
    collect,
    make_stt,
    push,
    texts,
    tone,
    until,
)
from tests.pipeline.providers.parakeet_server import (
    FINALIZED,
    ParakeetScript,
    ParakeetServer,
    Say,
    final,
)

GOOD = ParakeetScript(on_finalize=((final("good"), FINALIZED),))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A fresh self-signed certificate for 127.0.0.1, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "parakeet")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_tls_is_timed_apart_and_serves_streams_and_batches(certificate: Path) -> None:
    """wss:// works with the caller's own trust, and its handshake has a duration of its own."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    recorder = SttRecorder()
    async with ParakeetServer(GOOD).running(tls=serving) as server:
        url = server.ws_url.replace("ws:", "wss:")
        async with ParakeetSTT(api_key=KEY, ws_url=url, tls=trusting, observer=recorder) as plugin:
            stream = plugin.stream(conn_options=ONCE)
            push(stream, 3)
            stream.end_input()
            assert texts(await collect(stream)) == ["good"]
            await stream.aclose()
            heard = await plugin.recognize(tone(0.1), conn_options=ONCE)
            assert heard.alternatives[0].text == "hello there"
    (opened,) = recorder.connections
    assert opened.tls_ns is not None
    assert opened.tls_ns > 0
    assert opened.hello_ns is not None
    assert opened.hello_ns > 0


async def test_a_certificate_that_nobody_vouches_for_is_final(certificate: Path) -> None:
    """The certificate is checked, and an untrusted one is not tried again."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    async with ParakeetServer(GOOD).running(tls=serving) as server:
        url = server.ws_url.replace("ws:", "wss:")
        async with ParakeetSTT(api_key=KEY, ws_url=url) as plugin:
            stream = plugin.stream(conn_options=ONCE)
            with pytest.raises(APIConnectionError, match="certificate is not trusted") as caught:
                await collect(stream)
            assert not caught.value.retryable
            await stream.aclose()
            with pytest.raises(APIConnectionError, match="certificate is not trusted") as caught:
                await plugin.recognize(tone(0.1), conn_options=ONCE)
            assert not caught.value.retryable
        assert server.dialled == 0


@contextlib.asynccontextmanager
async def proxy(status: int) -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP proxy that tunnels, or refuses with a status."""
    asked: list[str] = []
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(request)
        writer.write(f"HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n".encode())
        if status != 200:
            writer.close()
            return
        host, port = request.split()[1].split(":")
        upstream = await asyncio.open_connection(host, int(port))
        for pair in ((reader, upstream[1]), (upstream[0], writer)):
            task = asyncio.get_running_loop().create_task(pump(*pair))
            pumps.add(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://user:proxy-secret@127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        await asyncio.gather(*pumps, return_exceptions=True)


async def test_a_proxy_of_the_environment_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tunnel is asked for by CONNECT; its way has no TCP round trip of the server's own."""
    monkeypatch.setattr(parakeet_wire, "_is_loopback", lambda _: False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    recorder = SttRecorder()
    async with ParakeetServer(GOOD).running() as server, proxy(200) as (address, asked):
        monkeypatch.setenv("http_proxy", address)
        async with make_stt(server, observer=recorder) as plugin:
            stream = plugin.stream(conn_options=ONCE)
            push(stream, 3)
            stream.end_input()
            assert texts(await collect(stream)) == ["good"]
            await stream.aclose()
    assert asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} ")
    assert KEY not in urllib.parse.unquote(asked[0])
    (opened,) = recorder.connections
    assert opened.tcp_rtt_ns is None
    assert opened.connect_ns is not None
    assert opened.connect_ns > 0


async def test_a_proxy_that_refuses_is_an_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 407 of the proxy ends as a connection error of livekit's family."""
    monkeypatch.setattr(parakeet_wire, "_is_loopback", lambda _: False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with ParakeetServer(GOOD).running() as server, proxy(407) as (address, _):
        monkeypatch.setenv("http_proxy", address)
        async with make_stt(server) as plugin:
            stream = plugin.stream(conn_options=ONCE)
            with pytest.raises(APIConnectionError, match="the proxy refused") as caught:
                await collect(stream)
            assert "secret" not in f"{caught.value} {caught.value!r}"
            await stream.aclose()


async def test_connect_makes_ready_or_says_why_not() -> None:
    """What a driver calls before a run: once it dials, then it finds the connection kept."""
    refused = ParakeetScript(status=401)
    async with ParakeetServer(GOOD).running() as server, make_stt(server) as plugin:
        opening = await plugin.connect(timeout_s=5)
        assert opening is not None
        assert opening.hello_ns > 0
        assert await plugin.connect(timeout_s=5) is None
        assert server.dialled == 1
    async with ParakeetServer(refused).running() as server, make_stt(server) as plugin:
        with pytest.raises(APIStatusError):
            await plugin.connect(timeout_s=5)


async def test_closing_a_stream_that_still_connects_leaves_nothing_open() -> None:
    """A stream cancelled before the hello hangs up."""
    async with ParakeetServer(ParakeetScript(hello=())).running() as server:
        plugin = make_stt(server)
        stream = plugin.stream(conn_options=ONCE)
        await until(lambda: len(server.connections) == 1)
        await stream.aclose()
        await asyncio.wait_for(server.connections[0].closed.wait(), 5)
        await plugin.aclose()


async def test_an_unsettled_connection_is_closed_with_the_plugin() -> None:
    """A server that never finalizes does not keep aclose waiting."""
    script = ParakeetScript(on_finalize=((),))
    async with ParakeetServer(script).running() as server:
        plugin = make_stt(server)
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 2)
        await until(lambda: bool(server.connections) and server.connections[0].samples == 640)
        await stream.aclose()
        await asyncio.wait_for(plugin.aclose(), 1.5)
        await asyncio.wait_for(server.connections[0].closed.wait(), 5)
        assert plugin.pool.idle == 0


async def test_half_a_surrogate_pair_becomes_a_text_that_can_be_encoded() -> None:
    """JSON may spell what no UTF-8 file can hold."""
    broken = Say(message='{"text": "caf\\ud83d \\ud83d\\ude00", "is_final": true}')
    script = ParakeetScript(on_finalize=((broken, FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        server.batch = lambda _: web.Response(
            body=b'{"text": "x\\udc00"}', content_type="application/json"
        )
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 2)
        stream.end_input()
        assert texts(await collect(stream)) == ["caf\ufffd \U0001f600"]
        await stream.aclose()
        event = await plugin.recognize(tone(0.1), conn_options=ONCE)
        assert event.alternatives[0].text == "x\ufffd"
