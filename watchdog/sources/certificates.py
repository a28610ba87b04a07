"""When the certificate of each probed host expires, read in the TLS handshake that a probe makes anyway.

aiohttp gives the connection of a small answer back before its caller can look at it, so the transport is out of reach.
`SSLContext.sslobject_class` is the documented way in (docs.python.org/3/library/ssl.html): asyncio makes its TLS object
from it, and a finished handshake tells the certificate.
"""

import ssl
from pathlib import Path

from watchdog.errors import ConfigError


class CertificateBook:
    """Host → expiry (Unix seconds) of the certificate that its newest handshake showed."""

    def __init__(self) -> None:
        self._expires_at: dict[str, float] = {}

    def expires_at(self, host: str) -> float | None:
        """None for a host without a verified handshake yet."""
        return self._expires_at.get(host.lower().rstrip("."))

    def note(self, host: str, not_after: str) -> None:
        """Remember a certificate's `notAfter`, as `SSLObject.getpeercert` writes it."""
        self._expires_at[host.lower().rstrip(".")] = float(ssl.cert_time_to_seconds(not_after))

    def watch(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Make every client connection of `context` note its certificate here; returns the same context.

        A context that verifies nothing notes nothing: Python does not parse certificates that it did not verify.
        """
        note = self.note

        class NotingSSLObject(ssl.SSLObject):
            """Python's own, with a look at the certificate once the handshake is over."""

            def do_handshake(self) -> None:
                """Raises `SSLWantReadError` until the handshake is over, as the one it extends does."""
                super().do_handshake()
                not_after = (self.getpeercert() or {}).get("notAfter")
                if self.server_hostname and isinstance(not_after, str):
                    note(self.server_hostname, not_after)

        context.sslobject_class = NotingSSLObject
        return context


def default_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Verifies against the system's authorities, and those of a PEM file, and offers HTTP/1.1 as aiohttp's own does.

    Raises `ConfigError` when the file cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            why = "holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(f"WATCHDOG_CA_FILE: {ca_file}: {why}; write the authorities there as PEM") from None
    context.set_alpn_protocols(("http/1.1",))
    return context
