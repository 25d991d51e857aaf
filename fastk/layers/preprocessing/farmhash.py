"""The hashes of strings that TensorFlow's hash buckets are made of: FarmHash's `Fingerprint64`, and SipHash-2-4.

They are the same on every machine and in every version, so that models find the bins that they were trained with.
All strings of one length are hashed together: a string is a row of bytes, and arithmetic is that of columns of 64-bit
integers, which wrap around.

Sources: Pike and Alakuijala, 2014, "FarmHash" (`farmhashna::Hash64`); Aumasson and Bernstein, 2012, "SipHash: a fast
short-input PRF".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Words = np.ndarray  # of uint64, a row a string

_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_SEED = 81


def _word(value: int) -> np.uint64:
    return np.uint64(value & 0xFFFFFFFFFFFFFFFF)


def _rotated(x: Words, count: int) -> Words:
    """The bits moved down by `count`, those that fall off put in at the top."""
    return (x >> np.uint64(count)) | (x << np.uint64(64 - count))


def _mixed(x: Words) -> Words:
    return x ^ (x >> np.uint64(47))


def _fetch(rows: np.ndarray, offset: int, size: int = 8) -> Words:
    """The little-endian integer of `size` bytes at `offset` of each row."""
    piece = np.ascontiguousarray(rows[:, offset : offset + size])
    return piece.view(f"<u{size}")[:, 0].astype(np.uint64)


def _hash16(u: Words, v: Words, mul: Words | np.uint64) -> Words:
    a = _mixed((u ^ v) * mul)
    return _mixed((v ^ a) * mul) * mul


def _up_to_16(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    mul = _word(int(_K2) + length * 2)
    if length >= 8:
        a = _fetch(rows, 0) + _K2
        b = _fetch(rows, length - 8)
        return _hash16(_rotated(b, 37) * mul + a, (_rotated(a, 25) + b) * mul, mul)
    if length >= 4:
        first = np.uint64(length) + (_fetch(rows, 0, 4) << np.uint64(3))
        return _hash16(first, _fetch(rows, length - 4, 4), mul)
    if length > 0:
        first, middle, last = (rows[:, i].astype(np.uint64) for i in (0, length >> 1, length - 1))
        y = first + (middle << np.uint64(8))
        z = np.uint64(length) + (last << np.uint64(2))
        return _mixed(y * _K2 ^ z * _K0) * _K2
    return np.full(len(rows), _K2)


def _up_to_32(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    mul = _word(int(_K2) + length * 2)
    a, b = _fetch(rows, 0) * _K1, _fetch(rows, 8)
    c, d = _fetch(rows, length - 8) * mul, _fetch(rows, length - 16) * _K2
    return _hash16(_rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + _K2, 18) + c, mul)


def _up_to_64(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    mul = _word(int(_K2) + length * 2)
    a, b = _fetch(rows, 0) * _K2, _fetch(rows, 8)
    c, d = _fetch(rows, length - 8) * mul, _fetch(rows, length - 16) * _K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d
    z = _hash16(y, a + _rotated(b + _K2, 18) + c, mul)
    e, f = _fetch(rows, 16) * mul, _fetch(rows, 24)
    g, h = (y + _fetch(rows, length - 32)) * mul, (z + _fetch(rows, length - 24)) * mul
    return _hash16(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, mul)


def _weak(rows: np.ndarray, at: int, a: Words, b: Words) -> tuple[Words, Words]:
    w, x, y, z = (_fetch(rows, at + offset) for offset in (0, 8, 16, 24))
    a = a + w
    b = _rotated(b + a + z, 21)
    c = a
    a = a + x + y
    return a + z, b + _rotated(a, 44) + c


def _longer(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    zero = np.zeros(len(rows), np.uint64)
    y = zero + _word(_SEED * int(_K1) + 113)
    z = _mixed(y * _K2 + np.uint64(113)) * _K2
    x = _word(_SEED * int(_K2)) + _fetch(rows, 0)
    v, w = (zero, zero), (zero, zero)
    for at in range(0, (length - 1) // 64 * 64, 64):
        x = _rotated(x + y + v[0] + _fetch(rows, at + 8), 37) * _K1 ^ w[1]
        y = _rotated(y + v[1] + _fetch(rows, at + 48), 42) * _K1 + v[0] + _fetch(rows, at + 40)
        z = _rotated(z + w[0], 33) * _K1
        v = _weak(rows, at, v[1] * _K1, x + w[0])
        w = _weak(rows, at + 32, z + w[1], y + _fetch(rows, at + 16))
        z, x = x, z
    mul = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    at = length - 64
    w = (w[0] + np.uint64((length - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    nine = np.uint64(9)
    x = _rotated(x + y + v[0] + _fetch(rows, at + 8), 37) * mul ^ w[1] * nine
    y = _rotated(y + v[1] + _fetch(rows, at + 48), 42) * mul + v[0] * nine + _fetch(rows, at + 40)
    z = _rotated(z + w[0], 33) * mul
    v = _weak(rows, at, v[1] * mul, x + w[0])
    w = _weak(rows, at + 32, z + w[1], y + _fetch(rows, at + 16))
    z, x = x, z
    return _hash16(_hash16(v[0], w[0], mul) + _mixed(y) * _K0 + z, _hash16(v[1], w[1], mul) + x, mul)


def _farm(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    for most, part in ((16, _up_to_16), (32, _up_to_32), (64, _up_to_64)):
        if length <= most:
            return part(rows)
    return _longer(rows)


def _sip(rows: np.ndarray, key: Sequence[int]) -> Words:
    k0, k1 = (_word(k) for k in key)
    constants = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    zero = np.zeros(len(rows), np.uint64)
    v0, v1, v2, v3 = (zero + (np.uint64(c) ^ k) for c, k in zip(constants, (k0, k1, k0, k1), strict=True))

    def rounds(state: tuple[Words, ...], count: int) -> tuple[Words, ...]:
        v0, v1, v2, v3 = state
        for _ in range(count):
            v0 = v0 + v1
            v1 = _rotated(v1, 51) ^ v0
            v0 = _rotated(v0, 32)
            v2 = v2 + v3
            v3 = _rotated(v3, 48) ^ v2
            v0 = v0 + v3
            v3 = _rotated(v3, 43) ^ v0
            v2 = v2 + v1
            v1 = _rotated(v1, 47) ^ v2
            v2 = _rotated(v2, 32)
        return v0, v1, v2, v3

    length = rows.shape[1]
    padded = np.zeros((len(rows), length // 8 * 8 + 8), np.uint8)
    padded[:, :length] = rows
    padded[:, -1] = length & 0xFF
    for at in range(0, padded.shape[1], 8):
        word = _fetch(padded, at)
        v0, v1, v2, v3 = rounds((v0, v1, v2, v3 ^ word), 2)
        v0 = v0 ^ word
    v0, v1, v2, v3 = rounds((v0, v1, v2 ^ np.uint64(0xFF), v3), 4)
    return v0 ^ v1 ^ v2 ^ v3


def _by_length(strings: Sequence[bytes], hashed: Callable[[np.ndarray], Words]) -> Words:
    """The hash of each string, strings of one length at a time, each different string once."""
    positions = {string: i for i, string in enumerate(dict.fromkeys(strings))}
    groups: dict[int, list[bytes]] = {}
    for string in positions:
        groups.setdefault(len(string), []).append(string)
    unique = np.empty(len(positions), np.uint64)
    with np.errstate(over="ignore"):
        for length, group in groups.items():
            rows = np.frombuffer(b"".join(group), np.uint8).reshape(len(group), length)
            unique[[positions[string] for string in group]] = hashed(rows)
    return unique[[positions[string] for string in strings]] if len(strings) else unique


def fingerprint64(strings: Sequence[bytes]) -> Words:
    """FarmHash's 64-bit fingerprints.

    >>> from fastk.layers.preprocessing.farmhash import fingerprint64
    >>> [hex(x) for x in fingerprint64([b"a", b"hello"])]
    ['0xb3454265b6df75e3', '0xb48be5a931380ce8']
    """
    return _by_length(strings, _farm)


def siphash(strings: Sequence[bytes], key: Sequence[int]) -> Words:
    """SipHash-2-4 with a key of two 64-bit integers."""
    return _by_length(strings, lambda rows: _sip(rows, key))


def buckets(strings: Sequence[bytes], count: int, key: Sequence[int] | None = None) -> np.ndarray:
    """The bin of `count` that each string belongs to, int64: by SipHash where there is a key, else by FarmHash."""
    hashes = fingerprint64(strings) if key is None else siphash(strings, key)
    return (hashes % np.uint64(count)).astype(np.int64)


def concatenated(first: Words, second: Words) -> Words:
    """The fingerprint of two fingerprints, one after the other: TensorFlow's `FingerprintCat64`."""
    mul = np.uint64(0xC6A4A7935BD1E995)
    with np.errstate(over="ignore"):
        result = (first ^ mul) ^ (_mixed(second * mul) * mul)
        return _mixed(_mixed(result * mul) * mul)
