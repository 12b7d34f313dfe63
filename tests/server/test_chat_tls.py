"""Does a chat server with a bad certificate lead to a sentence that names the cure, and does the cure work?"""

import datetime as dt
import http.server
import ipaddress
import ssl
import threading

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from gateway.rocketchat import tls
from gateway.rocketchat.admin import Caller
from gateway.rocketchat.rest import RestClient, UnreachableError, open_http


class Answer(http.server.BaseHTTPRequestHandler):
    """Version and `me`, as Rocket.Chat tells them."""

    def do_GET(self):
        body = b'{"version": "8.8.1", "_id": "u", "username": "claude", "name": "Claude", "success": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is what is tested."""


@pytest.fixture
def serve():
    """Starts a server with this certificate, or without any, and returns its address."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(certificate=None):
        server = Server(("127.0.0.1", 0), Answer)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"https://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certify(tmp_path):
    """Makes a self-signed certificate for this address, good for so many days from now, with its key."""

    def make(address="127.0.0.1", *, days=1):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chat")])
        end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - dt.timedelta(days=10))
            .not_valid_after(end)
            .add_extension(alternative, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / f"{address}-{days}.pem"
        form = serialization.PrivateFormat.PKCS8
        plain = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path.write_bytes(plain + certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    return make


async def _asked(url, *, ca_file=""):
    """Whom the chat process finds there."""
    async with open_http(base_url=url, trust=tls.context(ca_file=ca_file)) as http_client:
        return (await RestClient(http=http_client, user_id="u", token="t").me()).username


async def test_a_self_signed_certificate_is_refused_with_its_cure(serve, certify):
    url = serve(certify())

    with pytest.raises(UnreachableError, match="NEXUS_ROCKETCHAT_CA"):
        await _asked(url)
    with pytest.raises(UnreachableError, match="NEXUS_ROCKETCHAT_CA"), Caller(base_url=url) as caller:
        caller.version()
    with pytest.raises(ssl.SSLError) as refused:
        await connect(f"{url.replace('https', 'wss')}/websocket", ssl=tls.context(ca_file=""), proxy=None)
    assert "NEXUS_ROCKETCHAT_CA" in tls.why(refused.value)


async def test_the_cure_works(serve, certify):
    certificate = certify()
    url = serve(certificate)

    assert await _asked(url, ca_file=certificate) == "claude"
    with Caller(base_url=url, ca_file=certificate) as caller:
        assert caller.version() == "8.8.1"


@pytest.mark.parametrize(
    ("address", "days", "says"),
    [("127.0.0.2", 1, "is for another name"), ("127.0.0.1", -1, "has expired"), ("127.0.0.1", 30, "not valid yet")],
)
async def test_what_is_wrong_with_a_trusted_certificate_is_said(serve, certify, address, days, says):
    certificate = certify(address, days=days)
    url = serve(certificate)

    with pytest.raises(UnreachableError, match=says):
        await _asked(url, ca_file=certificate)
    with pytest.raises(UnreachableError, match=says), Caller(base_url=url, ca_file=certificate) as caller:
        caller.version()


async def test_a_server_without_tls_is_told_apart(serve):
    url = serve()

    with pytest.raises(UnreachableError, match="is https right in NEXUS_ROCKETCHAT_URL"):
        await _asked(url)


def test_other_failures_are_left_as_they_are():
    assert tls.why(httpx.ConnectError("refused")) == ""
