"""How is a backup encrypted as a stream, so that a cut, changed or reordered one is noticed?

ChaCha20-Poly1305 over blocks; a nonce is the block's number and whether it is the last, so none can be left out or moved.
The key of each file comes from NEXUS_BACKUP_KEY and a salt of its own.
"""

import io
import os
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"NEXUS-BACKUP-1\n"
BLOCK_BYTES: Final = 256 * 1024
_SALT_BYTES: Final = 32
_TAG_BYTES: Final = 16


class SealBrokenError(Exception):
    """The key does not fit, or the file was cut or changed."""


class SealingWriter(io.RawIOBase):
    """Takes plain bytes, writes encrypted ones to `out`. Only `close` makes the file whole."""

    def __init__(self, out: BinaryIO, *, key: str) -> None:
        self._out = out
        salt = os.urandom(_SALT_BYTES)
        self._header = MAGIC + salt
        self._box = _box(key=key, salt=salt)
        self._number = 0
        self._waiting = bytearray()
        out.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]  # what tarfile gives
        self._waiting += data
        while len(self._waiting) > BLOCK_BYTES:
            self._put(bytes(self._waiting[:BLOCK_BYTES]), is_last=False)
            del self._waiting[:BLOCK_BYTES]
        return len(data)

    def finish(self) -> None:
        self._put(bytes(self._waiting), is_last=True)
        self._waiting.clear()

    def _put(self, block: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._number, is_last=is_last)
        self._out.write(self._box.encrypt(nonce, block, self._header))
        self._number += 1


class UnsealingReader(io.RawIOBase):
    """Reads what SealingWriter wrote; raises SealBrokenError where it does not fit."""

    def __init__(self, source: BinaryIO, *, key: str) -> None:
        self._source = source
        header = source.read(len(MAGIC) + _SALT_BYTES)
        self._header = header
        self._box = _box(key=key, salt=header[len(MAGIC) :])
        self._number = 0
        self._plain = b""
        self._next = source.read(BLOCK_BYTES + _TAG_BYTES)
        self._is_done = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        parts = [self._plain]
        have = len(self._plain)
        while not self._is_done and (size < 0 or have < size):
            parts.append(self._take())
            have += len(parts[-1])
        joined = b"".join(parts)
        wanted = joined if size < 0 else joined[:size]
        self._plain = joined[len(wanted) :]
        return wanted

    def _take(self) -> bytes:
        block, self._next = self._next, self._source.read(BLOCK_BYTES + _TAG_BYTES)
        self._is_done = not self._next
        try:
            plain = self._box.decrypt(_nonce(self._number, is_last=self._is_done), block, self._header)
        except InvalidTag:
            raise SealBrokenError from None
        self._number += 1
        return plain


def is_sealed(path_start: bytes) -> bool:
    return path_start.startswith(MAGIC)


def _box(*, key: str, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(
        HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"nexus backup 1").derive(key.encode())
    )


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
