"""``turnbench gateway``: the loopback gateway by itself, for a user's own tests."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import start_gateway
from harness.gateway.profiles.files import read_profiles
from harness.gateway.profiles.profiles import PROFILES, Profile
from harness.store.datasets.manifest import manifest_path
from harness.store.datasets.shipped import find_dataset

__all__ = ["gateway"]

HIGHEST_PORT = 65535
MISUSE = 2


def gateway(options: argparse.Namespace) -> int:
    """Run the gateway until it is interrupted, or list its profiles."""
    file = None if options.profiles is None else Path(options.profiles)
    profiles = PROFILES if file is None else read_profiles(file, PROFILES)
    if options.list:
        _list(profiles.values(), as_json=options.json)
        return 0
    if options.port > HIGHEST_PORT:
        raise ConfigurationError(f"--port {options.port}: has to be 0…{HIGHEST_PORT}")
    known = None
    if options.dataset is not None:
        known = manifest_path(find_dataset(options.dataset, base=Path.cwd()))
    config = GatewayConfig(
        port=options.port,
        seed=options.seed,
        truth=None if options.truth is None else Path(options.truth),
        utterances=known,
        profiles=file,
        recogniser=options.recogniser,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with start_gateway(config) as process:
        root = f"http://127.0.0.1:{process.port}"
        if options.json:
            document = {"url": root, "port": process.port, "key": process.key, "pid": process.pid}
            print(json.dumps(document), flush=True)
        else:
            print(f"gateway at {root}, everything it answers is EMULATED")
            print(f"  OpenAI clients    {process.base_url('PROFILE')}")
            print(f"  Parakeet          {process.parakeet_url('PROFILE')}")
            print(f"  key               {process.key} (not a secret)")
            print("  profiles          turnbench gateway --list")
            print("Ctrl-C ends it.", flush=True)
        while not stop.wait(0.2):
            if not process.is_running():
                print("turnbench: the gateway has ended by itself", file=sys.stderr)
                return MISUSE
    return 0


def _list(profiles: Any, *, as_json: bool) -> None:
    rows = [_row(profile) for profile in profiles]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        stages = ",".join(row["stages"])
        figures = row.get("published")
        text = row["note"]
        if figures is not None:
            text = f"{figures['p50_ms']:g}/{figures['p95_ms']:g} ms p50/p95: {figures['measures']}"
        print(f"{row['name']:{width}}  {stages:11}  {text}")
        if figures is not None:
            print(f"{'':{width}}  {'':11}  from {figures['source']}")


def _row(profile: Profile) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": profile.name,
        "stages": [stage.value for stage in profile.stages],
        "note": profile.note,
    }
    published = profile.published
    if published is not None:
        row["published"] = {
            "measures": published.measures,
            "p50_ms": published.p50_ms,
            "p95_ms": published.p95_ms,
            "max_ms": published.max_ms,
            "source": published.source,
            "assumed": published.assumed,
        }
    return row
