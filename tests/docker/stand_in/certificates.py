"""Authorities and what they certify, by the command openssl."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
CONFIGURATION = """
[req]
distinguished_name = nobody
[nobody]
[extensions]
subjectKeyIdentifier = hash
"""
OF_AUTHORITY = "basicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, digitalSignature\n"
OF_OTHERS = (
    "authorityKeyIdentifier = keyid\nbasicConstraints = critical, CA:false\nkeyUsage = critical, digitalSignature\n"
)


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> Authority:
        """The one that is in the folder from now on."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / f"{name}.crt", folder / f"{name}.key")
        if not made.certificate.exists():
            _request(f"/CN=stand-in {name}", OF_AUTHORITY, made.key, made.certificate)
        return made

    def certify(self, name: str, user: str, *, usage: str, organisation: str = "", names: Iterable[str] = ()) -> Path:
        """A file NAME.pem beside this authority's, with a certificate and its key, made anew."""
        extensions = f"{OF_OTHERS}extendedKeyUsage = {usage}\n"
        if alternatives := ", ".join(dict.fromkeys(map(_alternative, names))):
            extensions += f"subjectAltName = {alternatives}\n"
        key, certificate = (self.key.with_name(f"{name}.{kind}") for kind in ("key", "crt"))
        subject = f"/O={organisation}/CN={user}" if organisation else f"/CN={user}"
        _request(subject, extensions, key, certificate, "-CA", str(self.certificate), "-CAkey", str(self.key))
        both = self.key.with_name(f"{name}.pem")
        both.touch(mode=0o600)
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return both


def service_key(path: Path) -> Path:
    """The key that is at this path from now on."""
    if not path.exists():
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(path))
    return path


def _alternative(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"


def _request(subject: str, extensions: str, key: Path, certificate: Path, *more: str) -> None:
    configuration = certificate.with_suffix(".cnf")
    configuration.write_text(CONFIGURATION + extensions)
    how = ("-config", str(configuration), "-extensions", "extensions", "-subj", subject, "-days", DAYS)
    _openssl("req", "-x509", *NEW_KEY, *how, *more, "-keyout", str(key), "-out", str(certificate))


def _openssl(*arguments: str) -> None:
    """Raises RuntimeError with what it said."""
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")
