"""A proxy with TLS in front of a gateway, from the very files that docker/ ships, and the CA that signed its certificate."""

import contextlib
import datetime
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from docker.ports import free_ports
from docker.programs import CHECKOUT

UP_S = 20.0


@dataclass(frozen=True, slots=True)
class Proxy:
    kind: str
    port: int
    ca_file: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


@contextlib.contextmanager
def caddy(directory: Path, *, port: int, upstream: int) -> Iterator[Proxy]:
    """docker/Caddyfile with its own CA."""
    chat, http, admin = free_ports(3)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "NEXUS_PUBLIC_URL": f"https://localhost:{port}",
        "NEXUS_CHAT_URL": f"https://localhost:{chat}",
        "GATEWAY": f"127.0.0.1:{upstream}",
        "CHAT_SERVER": f"http://127.0.0.1:{upstream}",
        "TLS_ISSUER": "internal",
        "HTTP_PORT": str(http),
        "CADDY_ADMIN": f"127.0.0.1:{admin}",
    }
    argv = ["caddy", "run", "--config", str(CHECKOUT / "docker/Caddyfile"), "--adapter", "caddyfile"]
    proxy = Proxy("caddy", port, directory / "caddy/pki/authorities/local/root.crt")
    with _running(argv, env=env, log=directory / "caddy.log", proxy=proxy):
        yield proxy


@contextlib.contextmanager
def nginx(directory: Path, *, port: int, upstream: int) -> Iterator[Proxy]:
    """docker/nginx.conf with this test's names, ports and certificates."""
    chat = free_ports(1)[0]
    ca_file, certificate, key = _certificates(directory)
    text = (CHECKOUT / "docker/nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"ssl_certificate .*;", f"ssl_certificate {certificate};", text)
    text = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {key};", text)
    text = text.replace("nexus.example.org", "localhost").replace("chat.example.org", "localhost")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}", 1).replace("listen 443", f"listen 127.0.0.1:{chat}")
    text = re.sub(r"127\.0\.0\.1:(4000|3000);", f"127.0.0.1:{upstream};", text)
    (directory / "nexus.conf").write_text(text, encoding="utf-8")
    (directory / "nginx.conf").write_text(_NGINX.format(directory=directory), encoding="utf-8")
    argv = ["nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    proxy = Proxy("nginx", port, ca_file)
    with _running(argv, env={"PATH": os.environ["PATH"]}, log=directory / "nginx.log", proxy=proxy):
        yield proxy


KINDS = {"caddy": caddy, "nginx": nginx}


def is_here(kind: str) -> bool:
    return shutil.which(kind) is not None


_NGINX = """\
daemon off;
master_process off;
pid {directory}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/nexus.conf;
}}
"""


@contextlib.contextmanager
def _running(argv: list[str], *, env: dict[str, str], log: Path, proxy: Proxy) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            _wait_until_shakes_hands(proxy, process, log)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait(5)


def _wait_until_shakes_hands(proxy: Proxy, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as plain,
            proxy.context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return
        time.sleep(0.1)
    raise AssertionError(f"{proxy.kind} did not start:\n{log.read_text()[-3000:]}")


def _certificates(directory: Path) -> tuple[Path, Path, Path]:
    """A CA, and a certificate of it for localhost: their paths, and the key's."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of a test")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    authority = x509.BasicConstraints(ca=True, path_length=0)
    ca = _draft(issuer, issuer, ca_key).add_extension(authority, critical=True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = _draft(subject, issuer, key).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    paths = directory / "ca.pem", directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[2].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
