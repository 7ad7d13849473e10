"""How precise is an accuracy, and is the difference between two models significant?"""

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054  # the normal quantile at 0.975, for two-sided 95 % intervals


def wilson(k: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Compute the interval of an accuracy, k right of n, as fractions 0…1 (Wilson 1927, JASA 22:209).

    Unlike p ± z·s it stays inside 0…1 and has a width at k = 0 and k = n. There one end is 0 or 1 exactly; the formula
    would leave a rounding error there.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"expected 0 <= k <= n and n > 0, got k={k}, n={n}")
    p = k / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def mcnemar(b: int, c: int) -> float:
    """Compute the p value of b against c discordant pairs, under the hypothesis that the two models are equally good.

    Exact and two-sided: twice the smaller tail of Binomial(b + c, 1/2), at most 1 (McNemar 1947, Psychometrika 12:153;
    exact form as in Agresti, Categorical Data Analysis, section 11.1). Summed in integers, so it is the correctly rounded
    number at any size.
    """
    if b < 0 or c < 0:
        raise ValueError(f"expected counts, got b={b}, c={c}")
    n = b + c
    term, tail = 1, 0  # term = C(n, i)
    for i in range(min(b, c) + 1):
        tail += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * tail / 2**n) if n else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Correct the p values of a family of tests (Holm 1979, Scand. J. Statist. 6:65); same order as given."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
