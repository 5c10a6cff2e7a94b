"""Distributions of delays, drawn by inverse transform from one uniform number.

A draw is a function of its names alone (seed, stage, what it belongs to, quantity): it does not
depend on how many draws came before it, so requests that overlap or fail do not shift the
latencies of others, and the same seed gives the same run. Profiles are no part of the names: what
differs between two is the distribution, and the uniform number is common to both.
"""

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["ZERO", "Constant", "Distribution", "Draws", "Empirical", "Lognormal"]

NS_PER_MS = 1_000_000
_Z95 = NormalDist().inv_cdf(0.95)
_STANDARD_NORMAL = NormalDist()


def _check_ms(name: str, value: float) -> None:
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of milliseconds >= 0, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Always the same delay, in milliseconds."""

    ms: float

    def __post_init__(self) -> None:
        _check_ms("ms", self.ms)

    def quantile_ns(self, probability: float) -> int:
        """Return the delay in nanoseconds; the probability has no influence."""
        del probability
        return round(self.ms * NS_PER_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """A lognormal delay through two published percentiles, cut at the published maximum.

    ``ln X ~ N(ln p50, (ln(p95 / p50) / 1.645)^2)``.

    Attributes:
        p50_ms: the median, above 0.
        p95_ms: the 95th percentile, at least the median.
        max_ms: the longest that a draw can be; None where no maximum was published.
    """

    p50_ms: float
    p95_ms: float
    max_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("p50_ms", self.p50_ms), ("p95_ms", self.p95_ms)):
            _check_ms(name, value)
        if self.p50_ms <= 0:
            raise ValueError("p50_ms must be above 0")
        if self.p95_ms < self.p50_ms:
            raise ValueError(f"p95_ms ({self.p95_ms}) must be at least p50_ms ({self.p50_ms})")
        if self.max_ms is not None:
            _check_ms("max_ms", self.max_ms)
            if self.max_ms < self.p95_ms:
                raise ValueError(f"max_ms ({self.max_ms}) must be at least p95_ms ({self.p95_ms})")

    def quantile_ns(self, probability: float) -> int:
        """Return the delay in nanoseconds at a probability within (0, 1)."""
        sigma = math.log(self.p95_ms / self.p50_ms) / _Z95
        ms = self.p50_ms * math.exp(sigma * _STANDARD_NORMAL.inv_cdf(probability))
        if self.max_ms is not None:
            ms = min(ms, self.max_ms)
        return round(ms * NS_PER_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empirical:
    """Observed delays in milliseconds; draws interpolate between their order statistics."""

    values_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values_ms:
            raise ValueError("values_ms must hold at least one delay")
        for value in self.values_ms:
            _check_ms("values_ms", value)
        object.__setattr__(self, "values_ms", tuple(sorted(self.values_ms)))

    def quantile_ns(self, probability: float) -> int:
        """Return the delay in nanoseconds at a probability within [0, 1]."""
        position = probability * (len(self.values_ms) - 1)
        below = math.floor(position)
        above = min(below + 1, len(self.values_ms) - 1)
        share = position - below
        ms = self.values_ms[below] * (1 - share) + self.values_ms[above] * share
        return round(ms * NS_PER_MS)


Distribution = Constant | Lognormal | Empirical

ZERO = Constant(ms=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random numbers of one request.

    Attributes:
        seed: the run's seed.
        stage: "stt", "llm" or "tts".
        key: what names the request within the run: the trial, the request's purpose in it, and how
            many requests of that purpose came before.
        before: how many that were.
    """

    seed: int
    stage: str
    key: str
    before: int = 0

    def uniform(self, quantity: str, index: int = 0) -> float:
        """Return a number within (0, 1) that depends on the names alone."""
        names = f"{self.seed}\0{self.stage}\0{self.key}\0{quantity}\0{index}"
        digest = hashlib.sha256(names.encode()).digest()
        return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 + 2**-54

    def delay_ns(self, distribution: Distribution, quantity: str, index: int = 0) -> int:
        """Return one delay in nanoseconds."""
        if isinstance(distribution, Constant):
            return distribution.quantile_ns(0.5)
        return distribution.quantile_ns(self.uniform(quantity, index))

    def seed_of(self, quantity: str) -> int:
        """Return a 64-bit seed for a generator that needs many numbers."""
        return int(self.uniform(quantity) * 2**53)
