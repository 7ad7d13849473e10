"""How precise is an accuracy, and is the difference between two models significant?"""

import cmath
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist

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


def fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """Compute the p value of k1 right of n1 against k2 of n2, of two samples that are not paired.

    Fisher's exact test, two-sided: the tables as improbable as this one, or more (Agresti, Categorical Data Analysis,
    section 3.5). Summed in integers, so that equally probable tables count as such.
    """
    for k, n in ((k1, n1), (k2, n2)):
        if not 0 <= k <= n or n == 0:
            raise ValueError(f"expected 0 <= k <= n and n > 0, got k={k}, n={n}")
    right, low = k1 + k2, max(0, k1 + k2 - n2)
    ways = [math.comb(n1, low) * math.comb(n2, right - low)]  # with low + i of the right ones in the first sample
    for i in range(low, min(n1, right)):
        ways.append(ways[-1] * (n1 - i) * (right - i) // ((i + 1) * (n2 - right + i + 1)))
    seen = ways[k1 - low]
    return sum(each for each in ways if each <= seen) / sum(ways)


def newcombe(k1: int, n1: int, k2: int, n2: int, z: float = Z_95) -> tuple[float, float]:
    """Compute the interval of the difference k1/n1 − k2/n2 of samples that are not paired (Newcombe 1998, method 10).

    Statistics in Medicine 17:873: the distances of both Wilson intervals' ends from their shares, as a root of squares.
    """
    (low1, high1), (low2, high2) = wilson(k1, n1, z), wilson(k2, n2, z)
    p1, p2 = k1 / n1, k2 / n2
    return p1 - p2 - math.hypot(p1 - low1, high2 - p2), p1 - p2 + math.hypot(high1 - p1, p2 - low2)


def least_significant(n: int, alpha: float) -> int | None:
    """Count the questions of n by which two models must differ for a McNemar test to give p < alpha; None for no number.

    It is the best case: one model is right on all of them, and the other nowhere alone.
    """
    least = math.floor(1 - math.log2(alpha)) + 1  # 2 / 2^least < alpha
    return least if least <= n else None


def least_difference(
    n: int, discordant: float, alpha: float, power: float = 0.8, most: float | None = None
) -> float | None:
    """Compute the smallest difference of two accuracies that n paired questions show with this power; None for none.

    `discordant` is the share of questions that just one of both models gets right. Connor 1987 (Biometrics 43:207), solved
    for the difference: √n·d = z(1−α/2)·√ψ + z(power)·√(ψ−d²). With several answers to a question ψ is the mean square of the
    questions' differences, and `most`, the largest difference that there can be, is its root.
    """
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)

    def shows(d: float) -> bool:
        return math.sqrt(n) * d >= z_alpha * math.sqrt(discordant) + z_power * math.sqrt(max(0.0, discordant - d * d))

    most = discordant if most is None else most
    if not 0 < discordant <= 1 or not shows(most):
        return None
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def bootstrap(counts: Sequence[int], of: int) -> tuple[float, float]:
    """Compute the 95 % interval of a mean of counts/of over questions, by drawing questions with all of their answers.

    Percentiles of the mean over n questions drawn with replacement (Efron 1979, Annals of Statistics 7:1). Their distribution
    is computed, not sampled. Where every count is 0 or `of`, it is Wilson's interval: equal counts would give one of no width.
    """
    if set(counts) <= {0, of}:
        return wilson(sum(count == of for count in counts), len(counts))
    size = len(counts) * of + 1
    turns, numbers = _list_turns(size), Counter(counts)
    means = (sum(n * turns[j * count % size] for count, n in numbers.items()) / len(counts) for j in range(size))
    cumulate = _invert([mean ** len(counts) for mean in means])
    low, high = (bisect_left(range(size), share, key=cumulate) for share in (0.025, 0.975))
    return low / (size - 1), high / (size - 1)


def sign_flip(differences: Sequence[int]) -> float:
    """Compute the p value of paired differences, under the hypothesis that each is as likely with the other sign.

    Two-sided, over all choices of signs (Fisher 1935, The Design of Experiments, section 21). The distribution of their sums is
    computed by Fourier inversion (Pagano and Tritchler 1983, JASA 78:435). Of differences 1 and −1 it is McNemar's exact test.
    """
    sizes, gap = Counter(abs(each) for each in differences if each), abs(sum(differences))
    if not gap:
        return 1.0
    size = 1 + sum(value * n for value, n in sizes.items())
    turns = _list_turns(size)
    means = [math.prod(((1 + turns[j * value % size]) / 2) ** n for value, n in sizes.items()) for j in range(size)]
    p = 2 * _invert(means)((size - 1 - gap) // 2)
    return min(1.0, max(p, 2.0 ** (1 - sizes.total())))  # no sum is rarer; rounding errors are


def _list_turns(size: int) -> list[complex]:
    return [cmath.exp(2j * math.pi * j / size) for j in range(size)]


def _invert(means: Sequence[complex]) -> Callable[[int], float]:
    """Return P(S ≤ s) of a whole number S from 0 to N − 1 as a function of s, from the N means of exp(2πi·j·S/N)."""
    size = len(means)
    turns = _list_turns(size)
    weights = [means[j] / (1 - turns[-j]) for j in range(1, size)]

    def cumulate(s: int) -> float:
        terms = (weight * (1 - turns[-j * (s + 1) % size]) for j, weight in enumerate(weights, 1))
        return (s + 1 + math.fsum(term.real for term in terms)) / size

    return cumulate
