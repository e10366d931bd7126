"""H.264 as it travels: NAL units, parameter sets and avcC. Nothing here looks at a picture.

A packager must know three things of a frame: can a decoder start here (IDR), which parameter sets does it
need, and where its units begin. Everything that comes in is brought to one form: units with a 4-byte length,
parameter sets outside (`avc1`), so that segments of every kind of host look the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streaming.video.errors import Malformed

IDR, SEI, SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM, FILLER = 5, 6, 7, 8, 9, 10, 11, 12
DROPPED = frozenset({SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM, FILLER})

# What every phone and browser decodes: baseline, main and high at 8 bits 4:2:0. The others are transcoded.
COMMON_PROFILES = frozenset({66, 77, 88, 100})
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says about the picture."""

    profile: int
    constraints: int
    level: int
    width: int
    height: int
    common: bool
    """Baseline, main or high, progressive, 8 bits, 4:2:0: decodes everywhere."""


@dataclass(frozen=True, slots=True)
class Config:
    """The parameter sets of a stream; equal configs can share an init segment."""

    sps: bytes
    pps: tuple[bytes, ...]

    def avcc(self) -> bytes:
        """AVCDecoderConfigurationRecord with 4-byte lengths (ISO/IEC 14496-15, 5.3.3)."""
        out = bytearray((1, self.sps[1], self.sps[2], self.sps[3], 0xFF, 0xE1))
        out += len(self.sps).to_bytes(2, "big") + self.sps
        out.append(len(self.pps))
        for pps in self.pps:
            out += len(pps).to_bytes(2, "big") + pps
        if self.sps[1] in _WITH_CHROMA:
            out += b"\xfd\xf8\xf8\x00"  # 4:2:0, 8 bits: the only kind that is copied
        return bytes(out)

    @property
    def codec(self) -> str:
        """RFC 6381 name for the playlist, such as avc1.42C020."""
        return "avc1." + self.sps[1:4].hex().upper()


def from_avcc(record: bytes) -> tuple[Config, int]:
    """(parameter sets, bytes in each unit's length) of an AVCDecoderConfigurationRecord."""
    if len(record) < 7 or record[0] != 1:
        raise Malformed("avcC")
    size = (record[4] & 3) + 1
    at = 5
    groups: list[list[bytes]] = []
    for mask in (0x1F, 0xFF):
        if at >= len(record):
            raise Malformed("avcC ends early")
        count, at = record[at] & mask, at + 1
        units = []
        for _ in range(count):
            length = int.from_bytes(record[at : at + 2], "big")
            unit = record[at + 2 : at + 2 + length]
            if not unit or len(unit) < length:
                raise Malformed("avcC ends early")
            units.append(unit)
            at += 2 + length
        groups.append(units)
    if not groups[0] or len(groups[0][0]) < 4 or not groups[1]:
        raise Malformed("avcC without parameter sets")
    return Config(groups[0][0], tuple(groups[1])), size


def split_lengths(data: bytes, size: int) -> list[bytes]:
    """The units of a frame whose units carry their length in `size` bytes."""
    units = []
    at, end = 0, len(data)
    while at + size <= end:
        length = int.from_bytes(data[at : at + size], "big")
        at += size
        if not 0 < length <= end - at:
            raise Malformed("unit longer than its frame")
        units.append(data[at : at + length])
        at += length
    if at != end:
        raise Malformed("bytes after the last unit")
    return units


def split_annexb(data: bytes) -> list[bytes]:
    """The units of a frame whose units are set apart by start codes."""
    starts = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\0\0\1", at + 3)
    ends = [*starts[1:], len(data)]
    units = (data[a + 3 : b].rstrip(b"\0") for a, b in zip(starts, ends, strict=True))
    return [unit for unit in units if unit]


def join(units: Iterable[bytes]) -> bytes:
    """A frame with 4-byte lengths, without what belongs outside of it."""
    return b"".join(
        len(unit).to_bytes(4, "big") + unit for unit in units if unit and unit[0] & 31 not in DROPPED
    )


def is_idr(units: Iterable[bytes]) -> bool:
    return any(unit[0] & 31 == IDR for unit in units if unit)


def inband(units: Iterable[bytes]) -> Config | None:
    """Parameter sets that came inside a frame, if both kinds did."""
    sps = b""
    pps: list[bytes] = []
    for unit in units:
        kind = unit[0] & 31
        if kind == SPS and len(unit) >= 4:
            sps = unit
        elif kind == PPS:
            pps.append(unit)
    return Config(sps, tuple(pps)) if sps and pps else None


class _Bits:
    """Reads a parameter set bit by bit, after taking out the emulation prevention bytes."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data.replace(b"\0\0\3", b"\0\0"), "big")
        self.left = 8 * len(data.replace(b"\0\0\3", b"\0\0"))

    def u(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise Malformed("parameter set ends early")
        return (self.value >> self.left) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise Malformed("parameter set")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _skip_scaling(bits: _Bits, count: int) -> None:
    for index in range(count):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def parse_sps(unit: bytes) -> Sps:
    """Reads size and profile (ITU-T H.264, 7.3.2.1.1). Raises `Malformed`."""
    if len(unit) < 5 or unit[0] & 31 != SPS:
        raise Malformed("not a sequence parameter set")
    bits = _Bits(unit[1:])
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()
    chroma, deep = 1, False
    if profile in _WITH_CHROMA:
        chroma = bits.ue()
        if chroma == 3:
            bits.u(1)
        deep = bool(bits.ue() | bits.ue())
        bits.u(1)
        if bits.u(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.u(1)
    wide, high = bits.ue() + 1, bits.ue() + 1
    progressive = bits.u(1)
    if not progressive:
        bits.u(1)
    bits.u(1)
    width, height = wide * 16, high * 16 * (2 - progressive)
    if bits.u(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * (2 - progressive)
        width, height = width - across * (left + right), height - down * (top + bottom)
    if not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise Malformed("picture size")
    common = profile in COMMON_PROFILES and chroma == 1 and not deep and bool(progressive)
    return Sps(profile, constraints, level, width, height, common)
