"""How is a secret kept in a column? Encrypted with a key that is not in the database: NEXUS_FIELD_KEY."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


class UnreadableSecretError(Exception):
    """The column was written under another NEXUS_FIELD_KEY; make the credential anew, or bring the old key back."""


def seal(text: str) -> bytes:
    return _box().encrypt(text.encode())


def unseal(data: bytes | memoryview) -> str:
    try:
        return _box().decrypt(bytes(data)).decode()
    except InvalidToken:
        raise UnreadableSecretError("NEXUS_FIELD_KEY does not fit this secret; set the old key or renew it") from None


def _box() -> Fernet:
    digest = hashlib.sha256(b"nexus field:" + settings.NEXUS_FIELD_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
