"""The numbers of dropout's random bits, which every implementation shares: Philox4x32 with 7 rounds.

    round: (c0, c1, c2, c3) <- (hi(B c2) ^ c1 ^ k0, lo(B c2), hi(A c0) ^ c3 ^ k1, lo(A c0)),  (k0, k1) += (DA, DB)

hi and lo are the halves of a 64-bit product. Seven rounds are the fewest that pass BigCrush (Salmon, Moraes, Dror and
Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). The contract says what is counted and what is the key.
"""

from __future__ import annotations

A, B = 0xD2511F53, 0xCD9E8D57
DA, DB = 0x9E3779B9, 0xBB67AE85
ROUNDS = 7


def threshold(rate: float) -> int:
    """What 16 random bits are below with probability `rate`: a rate under 1 keeps one element in 65536 at least.

    >>> threshold(0.5), threshold(1 - 1e-9)
    (32768, 65535)
    """
    return min(round(rate * 65536), 65535)
