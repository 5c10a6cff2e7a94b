"""Leads what the Parakeet plugin tells to the trial that caused it.

The plugin's client lives as long as the run and serves every trial. What a stream does runs in a
task of its trial and finds the recorder in the context; a message's stamp is taken in the
connection's own callback, which knows no trial, so stamps are kept here and looked up by instant.
"""

from collections import OrderedDict

from harness.clock import Work
from harness.pipeline.recording.observer import NullSttObserver
from harness.pipeline.recording.recording import CURRENT_RECORDER, Stamp

__all__ = ["TrialObserver"]

_KEPT = 10_000


class TrialObserver(NullSttObserver):
    """An observer for a client that is shared by trials.

    Args:
        endpoint: the host that the client asks.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._work: OrderedDict[int, Work] = OrderedDict()

    def stamp_of(self, received_ns: int) -> Stamp | None:
        """Return the stamp of the message that arrived at an instant."""
        work = self._work.get(received_ns)
        return None if work is None else Stamp(received_ns, work)

    def on_stream(self, t_ns: int) -> None:
        """Start the stream's log of sent audio."""
        recorder = CURRENT_RECORDER.get()
        if recorder is not None:
            recorder.stt.on_stream(t_ns)
            if self._endpoint is not None:
                recorder.stt_facts["endpoint"] = self._endpoint

    def on_connection(
        self,
        *,
        reused: bool,
        connect_ns: int | None,
        tls_ns: int | None,
        hello_ns: int | None,
        tcp_rtt_ns: int | None,
    ) -> None:
        """Keep how the stream got its connection."""
        recorder = CURRENT_RECORDER.get()
        if recorder is not None:
            recorder.stt.on_connection(
                reused=reused,
                connect_ns=connect_ns,
                tls_ns=tls_ns,
                hello_ns=hello_ns,
                tcp_rtt_ns=tcp_rtt_ns,
            )

    def on_message(self, t_ns: int, work: Work, size: int) -> None:  # noqa: ARG002
        """Keep the stamp."""
        self._work[t_ns] = work
        if len(self._work) > _KEPT:
            self._work.popitem(last=False)

    def on_final(self, received_ns: int, text: str) -> None:  # noqa: ARG002
        """Keep the stamp of the message that carried a final."""
        self._note(received_ns)

    def on_interim(self, received_ns: int, text: str) -> None:  # noqa: ARG002
        """Keep the stamp of the message that carried an interim."""
        self._note(received_ns)

    def _note(self, received_ns: int) -> None:
        recorder = CURRENT_RECORDER.get()
        stamp = self.stamp_of(received_ns)
        if recorder is not None and stamp is not None:
            recorder.received[received_ns] = stamp

    def on_audio_sent(self, t_ns: int, work: Work, end_sample_index: int) -> None:
        """Keep when a frame was handed to the socket."""
        recorder = CURRENT_RECORDER.get()
        if recorder is not None and recorder.stt.streams:
            recorder.stt.on_audio_sent(t_ns, work, end_sample_index)

    def on_path(self, rtt_ns: int | None) -> None:
        """Keep how far away the connection's other end is."""
        recorder = CURRENT_RECORDER.get()
        if recorder is not None:
            recorder.stt.on_path(rtt_ns)
