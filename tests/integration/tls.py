"""Daphne's own TLS in tests: a certificate that signs itself, and a client that trusts it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.servers import GatewayProcess

__all__ = ["certificate_in", "over_tls", "trusting"]


def certificate_in(directory: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


def trusting(certificate: Path) -> ssl.SSLContext:
    trust = ssl.create_default_context(cafile=certificate)
    trust.check_hostname = False
    return trust


def over_tls(gateway: GatewayProcess, certificate: Path) -> GatewayProcess:
    """The same gateway, which must be Daphne's and not started yet, listening for TLS alone."""
    endpoint = f"ssl:{gateway.port}:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
    gateway._command[3:5] = ["-e", endpoint]  # in place of --bind and --port
    return gateway
