"""What went wrong with a request, as one of the typed reasons of `core.probing` and a clause for a person.

A reason drives decisions (a control that fails for the *same reason* makes a shared cause), so it comes from the
error's type and number, never from its text.
"""

import errno
import os
import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from watchdog.core.model import Failed, Missing
from watchdog.sources.resolver import HostsFileError

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""We ran out of files, buffers or ports: no statement about the service."""
LOST = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})

Explanation = tuple[Failed | Missing, str]


def explain(error: Exception) -> Explanation:
    """Evidence and clause for an error that came up while a request was made or its answer was read."""
    match error:
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Missing("prober"), "the probe's URL is not one that can be asked"
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return _connecting(error)
        case aiohttp.ClientError() | OSError():
            return _answering(error)
        case UnicodeError():
            return Failed("dns"), "the host is not a valid name"
        case _:  # aiohttp refuses to send what would not be HTTP, such as a header with a line break
            return Missing("prober"), f"the probe can't be sent ({type(error).__name__})"


def _connecting(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> Explanation:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failed("tls"), f"the certificate is not accepted: {_certificate_clause(error.certificate_error)}"
    cause = error.os_error
    if cause.errno in OURS:
        return Missing("prober"), f"we could not open a connection: {_said(cause)}"
    if isinstance(cause, HostsFileError):
        return Missing("prober"), f"our hosts file can't be read: {cause}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failed("dns"), f"the name was not found: {_said(cause)}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return Failed("tls"), f"the TLS handshake failed: {_ssl_clause(cause)}"
    if cause.errno == errno.ECONNREFUSED:
        return Failed("refused"), "the connection was refused"
    if cause.errno in LOST or isinstance(cause, ConnectionResetError):
        return Failed("reset"), "the connection was reset while it was made"
    return Failed("connect"), f"no connection: {_said(cause)}"


def _answering(error: aiohttp.ClientError | OSError) -> Explanation:
    match error:
        case aiohttp.ServerDisconnectedError():
            return Failed("reset"), "the connection was closed without an answer"
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            return Failed("protocol"), "the body can't be decompressed"
        case aiohttp.ClientPayloadError():
            return Failed("reset"), "the connection was closed before the body was complete"
        case ssl.SSLError():
            return Failed("tls"), f"TLS broke off: {_ssl_clause(error)}"
        case OSError(errno=number) if number in OURS:
            return Missing("prober"), f"we could not go on: {_said(error)}"
        case OSError() | aiohttp.ClientConnectionError():
            return Failed("reset"), "the connection was reset before the answer was complete"
        case _:  # ClientResponseError: aiohttp's parser gave up
            return Failed("protocol"), "the answer is not valid HTTP"


def _certificate_clause(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)


def _ssl_clause(error: OSError) -> str:
    reason = getattr(error, "reason", None) or "the peer broke it off"
    return str(reason).replace("_", " ").lower()


def _said(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno:
        return (error.strerror or type(error).__name__).lower()
    return os.strerror(error.errno).lower()
