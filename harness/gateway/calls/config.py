"""What one gateway is started with."""

from dataclasses import dataclass
from pathlib import Path

from harness.gateway.profiles.profiles import RecogniserName

__all__ = ["DEFAULT_KEY", "GatewayConfig"]

DEFAULT_KEY = "turnbench-gateway-key"
"""Not a secret: the gateway listens on the loopback interface only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The settings of a gateway process.

    Attributes:
        port: the TCP port on 127.0.0.1; 0 for any free one.
        seed: the run's seed; equal seeds give equal latencies, faults and errors.
        key: what clients must present, as bearer token or ``?token=``.
        truth: the file to write the truth to; None to keep none.
        utterances: the manifest of the utterances whose text the oracle knows; None for none.
        profiles: a TOML file with the user's own profiles; None for none.
        recogniser: stands behind every speech profile, whatever the profile says; None to obey it.
        recogniser_workers: how many workers of the embedded recogniser are warm from the start.
        espeak: False to synthesise without espeak-ng even where it is installed.
        default_profile: what serves requests whose path names no profile.
    """

    port: int = 0
    seed: int = 0
    key: str = DEFAULT_KEY
    truth: Path | None = None
    utterances: Path | None = None
    profiles: Path | None = None
    recogniser: RecogniserName | None = None
    recogniser_workers: int = 2
    espeak: bool = True
    default_profile: str = "exact"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must lie within 0 and 65535, not {self.port}")
        if not self.key:
            raise ValueError("key must not be empty")
        if not 1 <= self.recogniser_workers <= 64:
            raise ValueError("recogniser_workers must lie within 1 and 64")
