"""Where a provider is reached, and with which key."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from harness.domain.candidate import StageSettings
from harness.domain.suite import SessionOptions, Via
from harness.errors import ConfigurationError

__all__ = ["Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a provider's module needs to build its clients.

    Attributes:
        via: the gateway or the live provider.
        gateway: the gateway's root, ``http://127.0.0.1:PORT``.
        gateway_key: the key that the gateway asks for.
        options: the suite's session options.
        label: prefix of the request ids that join a gateway's truth.
        run: the run's name; makes prompts unlike those of any other run, where that is asked for.
        environ: where keys and addresses are read; never copied anywhere.
    """

    via: Via
    options: SessionOptions
    gateway: str | None = None
    gateway_key: str | None = None
    label: str = "run"
    run: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def emulated(self) -> bool:
        """Whether a gateway stands in."""
        return self.via is Via.GATEWAY

    def gateway_root(self, settings: StageSettings, default_profile: str) -> str:
        """Return the gateway's address for this stage's profile, ``http://…/<profile>``."""
        if self.gateway is None:
            raise ConfigurationError("the suite runs via the gateway, and none was started")
        return f"{self.gateway}/{quote(settings.profile or default_profile, safe='')}"

    def variable(self, name: str, default: str | None = None) -> str | None:
        """Return an environment variable's value; empty counts as unset."""
        return self.environ.get(name) or default

    def required(self, name: str, purpose: str) -> str:
        """Return an environment variable's value.

        Raises:
            ConfigurationError: it is not set.
        """
        value = self.environ.get(name)
        if not value:
            raise ConfigurationError(f"{name} is not set: give the {purpose} in the environment")
        return value

    @property
    def request_label(self) -> str | None:
        """The prefix of request ids; None when live, so that providers see no header of ours."""
        return self.label if self.emulated else None
