"""``python -m harness.gateway``: run the gateway until SIGTERM, SIGINT or the parent's end.

Prints ``ready PORT`` on standard output once it listens; a mistake in the configuration is one line
on standard error for each and exit code 2.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from harness.errors import ConfigurationError
from harness.gateway.calls.config import DEFAULT_KEY, GatewayConfig
from harness.gateway.server import build_app

__all__ = ["main"]

# Whoever stops a gateway has what it came for; open answers are cut.
_SHUTDOWN_S = 0.1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.gateway",
        description="A loopback server that speaks the providers' wire protocols.",
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 for any free one")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds, equal latencies")
    parser.add_argument("--key", default=DEFAULT_KEY, help="what clients must present")
    parser.add_argument("--truth", type=Path, help="write when each message left to this file")
    parser.add_argument("--utterances", type=Path, help="manifest that the oracle knows")
    parser.add_argument("--profiles", type=Path, help="TOML file with further profiles")
    parser.add_argument("--recogniser", choices=("pocketsphinx", "oracle"))
    parser.add_argument("--recogniser-workers", type=int, default=2)
    parser.add_argument("--without-espeak", action="store_true")
    parser.add_argument("--default-profile", default="exact")
    parser.add_argument(
        "--end-with-input",
        action="store_true",
        help="end when standard input ends, and so with the process that holds it",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = GatewayConfig(
            port=options.port,
            seed=options.seed,
            key=options.key,
            truth=options.truth,
            utterances=options.utterances,
            profiles=options.profiles,
            recogniser=options.recogniser,
            recogniser_workers=options.recogniser_workers,
            espeak=not options.without_espeak,
            default_profile=options.default_profile,
        )
        asyncio.run(_serve(config, end_with_input=options.end_with_input))
    except ConfigurationError as error:
        for problem in error.problems:
            sys.stderr.write(f"gateway: {problem}\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(config: GatewayConfig, *, end_with_input: bool) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    if end_with_input:
        os.set_blocking(0, False)
        loop.add_reader(0, _watch_input, over)
    runner = web.AppRunner(
        build_app(config), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S
    )
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", config.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"--port {config.port}: {error.strerror}") from error
        port = runner.addresses[0][1]
        sys.stdout.write(f"ready {port}\n")
        sys.stdout.flush()
        await over.wait()
    finally:
        if end_with_input:
            loop.remove_reader(0)
        await runner.cleanup()


def _watch_input(over: asyncio.Event) -> None:
    try:
        if not os.read(0, 4096):
            over.set()
    except BlockingIOError:
        return


if __name__ == "__main__":
    sys.exit(main())
