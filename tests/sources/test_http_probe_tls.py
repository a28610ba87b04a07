"""TLS: what is not trusted fails as `tls`, what is trusted tells when its certificate expires."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from tests.sources.servers import HEALTHY, LoopClock, config, hang, raw, says
from watchdog.core.model import Failed, Passed
from watchdog.core.probing import ProbeAnswer
from watchdog.errors import ConfigError
from watchdog.sources.certificates import CertificateBook, default_context
from watchdog.sources.http_probe import HttpProber

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n" + b'{"status": "healthy"}'
FAR = datetime(2090, 5, 17, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def ask(url: str, context: ssl.SSLContext | None, **fields: object) -> ProbeAnswer:
    async with HttpProber(LoopClock(), ssl_context=context) as prober:
        return await prober.probe(config(expect=HEALTHY, **fields), url, fresh=True)


async def test_a_private_authority_is_trusted_and_its_certificates_expiry_is_read(authority: trustme.CA) -> None:
    tls = serving(authority.issue_cert("127.0.0.1", not_after=FAR))
    async with raw(says(OK), tls=tls) as url:
        answer = await ask(url, trusting(authority))

    assert answer.evidence == Passed(), answer
    assert answer.certificate_expires_at == FAR.timestamp()
    assert set(answer.phases_s) == {"connect", "first_byte", "transfer"}


async def test_the_expiry_is_told_on_kept_connections_and_by_failing_services_too(authority: trustme.CA) -> None:
    tls = serving(authority.issue_cert("localhost", not_after=FAR))
    async with raw(says(b"HTTP/1.1 503 Nope\r\nContent-Length: 0\r\n\r\n"), tls=tls) as url:
        named = url.replace("127.0.0.1", "localhost")
        async with HttpProber(LoopClock(), ssl_context=trusting(authority)) as prober:
            answers = [await prober.probe(config(), named, fresh=fresh) for fresh in (False, False, True)]

    assert [a.reason for a in answers] == ["status"] * 3
    assert [a.certificate_expires_at for a in answers] == [FAR.timestamp()] * 3


async def test_an_unknown_authority_fails(authority: trustme.CA) -> None:
    async with raw(says(OK), tls=serving(authority.issue_cert("127.0.0.1"))) as url:
        answer = await ask(url, None)

    assert answer.evidence == Failed("tls")
    assert "the certificate is not accepted" in answer.detail
    assert answer.certificate_expires_at is None


async def test_an_expired_certificate_fails_and_says_so(authority: trustme.CA) -> None:
    old = authority.issue_cert(
        "127.0.0.1", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 2, 1, tzinfo=UTC)
    )
    async with raw(says(OK), tls=serving(old)) as url:
        answer = await ask(url, trusting(authority))

    assert answer.evidence == Failed("tls")
    assert "certificate has expired" in answer.detail


async def test_a_certificate_for_another_host_fails(authority: trustme.CA) -> None:
    async with raw(says(OK), tls=serving(authority.issue_cert("other.example"))) as url:
        answer = await ask(url, trusting(authority))

    assert answer.evidence == Failed("tls")
    assert "mismatch" in answer.detail


async def test_plain_http_on_a_tls_port_fails_as_tls(authority: trustme.CA) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()

    async with raw(plain) as url:
        answer = await ask(url.replace("http:", "https:"), trusting(authority))

    assert answer.evidence == Failed("tls"), answer


async def test_a_handshake_that_hangs_times_out(authority: trustme.CA) -> None:
    async with raw(hang) as url:
        answer = await ask(url.replace("http:", "https:"), trusting(authority), timeout_s=0.3)

    assert answer.evidence == Failed("timeout")
    assert "while the connection was made" in answer.detail


async def test_a_peer_that_cuts_the_handshake_is_named(authority: trustme.CA) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async with raw(cut) as url:
        answer = await ask(url.replace("http:", "https:"), trusting(authority))

    assert answer.evidence in (Failed("reset"), Failed("tls")), answer


def test_the_newest_certificate_of_a_host_counts() -> None:
    book = CertificateBook()
    book.note("Api.Example.", "Jan  5 09:34:43 2018 GMT")
    book.note("api.example", "May  9 00:00:00 2031 GMT")

    assert book.expires_at("API.example") == datetime(2031, 5, 9, tzinfo=UTC).timestamp()
    assert book.expires_at("other.example") is None


async def test_authorities_of_a_file_are_trusted_beside_the_systems(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with raw(says(OK), tls=serving(authority.issue_cert("127.0.0.1", not_after=FAR))) as url:
        answer = await ask(url, default_context(tmp_path / "ca.pem"))
        stranger = await ask(url, default_context())

    assert answer.evidence == Passed(), answer
    assert stranger.evidence == Failed("tls")


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_without_authorities_is_told_with_its_variable(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(ConfigError, match=r"WATCHDOG_CA_FILE: .*ca.pem: .*; write the authorities there as PEM"):
        default_context(tmp_path / "ca.pem")
