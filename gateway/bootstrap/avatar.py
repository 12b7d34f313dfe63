"""A picture for an agent: a mirrored pattern in a colour, both from its name, so that a room tells agents apart."""

import colorsys
import hashlib
import struct
import zlib
from typing import Final

CELLS: Final = 5
CELL_PX: Final = 40
MARGIN_PX: Final = 20
PAPER: Final = (245, 245, 247)


def avatar(*, name: str) -> bytes:
    """A square PNG; the same name gives the same bytes."""
    digest = hashlib.sha256(name.encode()).digest()
    red, green, blue = colorsys.hls_to_rgb(digest[0] / 256, 0.42, 0.6)
    ink = (int(red * 255), int(green * 255), int(blue * 255))
    half = (CELLS + 1) // 2
    rows = []
    for y in range(CELLS):
        left = [digest[1 + y * half + x] % 2 == 0 for x in range(half)]
        rows.append([*left, *reversed(left[: CELLS - half])])
    return _png([_line(row, ink) for row in rows])


def _line(cells: list[bool], ink: tuple[int, int, int]) -> bytes:
    margin = bytes(PAPER) * MARGIN_PX
    return margin + b"".join(bytes(ink if cell else PAPER) * CELL_PX for cell in cells) + margin


def _png(lines: list[bytes]) -> bytes:
    size = CELLS * CELL_PX + 2 * MARGIN_PX
    blank = b"\x00" + bytes(PAPER) * size
    body = blank * MARGIN_PX + b"".join((b"\x00" + line) * CELL_PX for line in lines) + blank * MARGIN_PX
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(body, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
