"""The way in that users take to a service: a name, a certificate, a load balancer, a firewall, Identity-Aware Proxy.

Each stands before Cloud Run and can be at fault while the service behind it is well. The name is under `.invalid`,
which no resolver knows; a hosts file that the watchdog is given leads it here, or nowhere. The certificate is of an
authority of our own, whose file the watchdog is given, too.
"""

import datetime as dt
import ipaddress
import shutil
import ssl
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watchdog.emulator import clock
from watchdog.emulator.control_bodies import Strict
from watchdog.emulator.director import ServiceName
from watchdog.emulator.identity import iap_refusal
from watchdog.emulator.listener import Listener
from watchdog.emulator.world import Json, ServiceKey

Fault = Literal["none", "name", "certificate", "load_balancer", "firewall"]


class Forward(Protocol):
    """How a request reaches Cloud Run; `vouched` for by Identity-Aware Proxy's own account."""

    def __call__(self, request: web.BaseRequest, key: ServiceKey, *, vouched: bool) -> Awaitable[web.StreamResponse]:
        """Its answer."""


UNAVAILABLE = (
    "<html><head>\n<title>502 Server Error</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n"
    "<h1>Error: Server Error</h1>\n<h2>The server encountered a temporary error and could not complete your request.<p>"
    "Please try again in 30 seconds.</h2>\n<h2></h2>\n</body></html>"
)
BLOCKED = '<!doctype html><meta charset="utf-8"><title>403</title>403 Forbidden'


class Iap(Strict):
    """Identity-Aware Proxy: for which audience tokens have to be, and whether the watchdog's account may pass."""

    audience: str
    allowed: bool = True


class EntrancePlan(ServiceName):
    """What is wrong with the way in, as the control API writes it."""

    fault: Fault = "none"
    iap: Iap | None = None


@dataclass(slots=True, kw_only=True)
class _Door:
    """One service's way in."""

    host: str
    plan: EntrancePlan
    tls: ssl.SSLContext
    listener: Listener


class Entrances:
    """The ways in of all services that have one. Files and ports live until `close`."""

    def __init__(self, forward: Forward, *, host: str = "127.0.0.1") -> None:
        self._forward = forward
        self._host = host
        self._doors: dict[ServiceKey, _Door] = {}
        self._folder: Path | None = None

    async def set_up(self, key: ServiceKey, plan: EntrancePlan) -> Json:
        """Make or change a service's way in; its URL, and what the watchdog's environment needs to use it."""
        folder = self._folder = self._folder or Path(tempfile.mkdtemp(prefix="watchdog-entrance-"))
        door = self._doors.get(key)
        if door is None:
            host = f"{key.name}.{key.region}.invalid"
            _write_certificates(folder, host)
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            door = self._doors[key] = self._door(key, host, plan, tls)
        door.plan = plan
        door.tls.load_cert_chain(folder / ("expired.pem" if plan.fault == "certificate" else f"{door.host}.pem"))
        known = [f"{self._host} {d.host}" for d in self._doors.values() if d.plan.fault != "name"]
        (folder / "hosts").write_text("\n".join([*known, ""]), encoding="utf-8")
        await door.listener.open()
        return {
            "url": f"https://{door.host}:{door.listener.port}",
            "env": {"WATCHDOG_HOSTS_FILE": str(folder / "hosts"), "WATCHDOG_CA_FILE": str(folder / "authority.pem")},
        }

    async def close(self) -> None:
        """Give ports and files back."""
        for door in self._doors.values():
            await door.listener.release()
        self._doors.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _door(self, key: ServiceKey, host: str, plan: EntrancePlan, tls: ssl.SSLContext) -> _Door:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, key)

        server = web.Server(handle, handler_cancellation=True, access_log=None, keepalive_timeout=75.0)
        return _Door(host=host, plan=plan, tls=tls, listener=Listener(server, host=self._host, tls=tls))

    async def _handle(self, request: web.BaseRequest, key: ServiceKey) -> web.StreamResponse:
        plan = self._doors[key].plan
        balancer = {"Via": "1.1 google"}
        if plan.fault == "firewall":
            return web.Response(status=403, text=BLOCKED, content_type="text/html", headers=balancer)
        if plan.fault == "load_balancer":
            return web.Response(status=502, text=UNAVAILABLE, content_type="text/html", headers=balancer)
        if plan.iap is not None:
            refused = iap_refusal(request, plan.iap.audience, allowed=plan.iap.allowed)
            if refused is not None:
                return refused
        return await self._forward(request, key, vouched=plan.iap is not None)


def _write_certificates(folder: Path, host: str) -> None:
    """An authority, a certificate for `host` that holds, and one that expired yesterday, each with its key."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Emulated authority")])
    now = dt.datetime.fromtimestamp(clock.machine_now(), dt.UTC)

    def signed(name: x509.Name, days: tuple[float, float], public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        since, until = (now + dt.timedelta(days=d) for d in days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )
        if not ca:
            names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    (folder / "authority.pem").write_bytes(signed(issuer, (-1, 365), authority_key.public_key(), ca=True))
    (folder / f"{host}.pem").write_bytes(secret + signed(subject, (-30, 60), key.public_key(), ca=False))
    (folder / "expired.pem").write_bytes(secret + signed(subject, (-30, -1), key.public_key(), ca=False))
