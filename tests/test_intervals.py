import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fino1.intervals import Z_95, fisher, holm, least_difference, least_significant, mcnemar, newcombe, wilson

counts = st.integers(0, 400)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),  # z²/(n + z²)
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statist. Med. 17:857, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_known_values(k, n, low, high):
    assert wilson(k, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_ends_are_exact():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0


@given(n=st.integers(1, 10**7), data=st.data())
def test_wilson_solves_the_score_equation(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for p in (low, high):
        assert (k / n - p) ** 2 == pytest.approx(Z_95**2 * p * (1 - p) / n, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(k, n):
    with pytest.raises(ValueError, match="expected"):
        wilson(k, n)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (1, 9, 22 / 1024),  # 2 · (1 + 10) / 2¹⁰ = 0.02148
        (0, 1, 1.0),
        (0, 5, 2 / 32),
        (0, 6, 2 / 64),
        (2, 8, 2 * 56 / 1024),
        (5, 5, 1.0),  # both tails overlap: at most 1
        (0, 0, 1.0),
    ],
)
def test_mcnemar_hand_values(b, c, p):
    assert mcnemar(b, c) == p


@given(b=counts, c=counts)
def test_mcnemar_is_symmetric_and_equals_the_definition(b, c):
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1))
    assert mcnemar(b, c) == mcnemar(c, b) == float(min(Fraction(1), Fraction(2 * tail, 2 ** (b + c))))


def test_mcnemar_is_exact_for_large_counts():
    assert mcnemar(5000, 5000) == 1.0
    assert mcnemar(5000, 5200) == pytest.approx(math.erfc((200 - 1) / math.sqrt(2 * 10200)), rel=1e-3)
    assert mcnemar(0, 3000) == 0.0  # 2⁻²⁹⁹⁹ is below the smallest float


def test_holm_hand_values():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        ((3, 4, 1, 4), 34 / 70),  # Fisher's tea
        ((1, 10, 11, 14), 0.002759),  # R's fisher.test of the same table
        ((5, 5, 0, 5), 2 / 252),
        ((0, 3, 0, 9), 1.0),
    ],
)
def test_fisher_known_values(counts, p):
    assert fisher(*counts) == pytest.approx(p, abs=5e-7)
    assert fisher(*counts[2:], *counts[:2]) == fisher(*counts)


@given(n1=st.integers(1, 30), n2=st.integers(1, 30), data=st.data())
def test_fisher_sums_the_hypergeometric_distribution(n1, n2, data):
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    ways = [math.comb(n1, i) * math.comb(n2, k1 + k2 - i) for i in range(k1 + k2 + 1)]
    expected = Fraction(sum(way for way in ways if way <= ways[k1]), math.comb(n1 + n2, k1 + k2))
    assert fisher(k1, n1, k2, n2) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe 1998, Statist. Med. 17:873, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 10), -0.2775, 0.2775),
    ],
)
def test_newcombe_known_values(counts, low, high):
    assert newcombe(*counts) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 435, 0.5, 2**-9])
def test_least_significant_is_where_mcnemar_starts_to_be(alpha):
    least = least_significant(10**6, alpha)
    assert mcnemar(least, 0) < alpha <= mcnemar(least - 1, 0)
    assert least_significant(least - 1, alpha) is None


def test_least_difference_has_its_power():
    """The share of simulated tests that find it: the formula is of the large-sample test, the exact one finds a little less."""
    n, discordant = 400, 0.2
    d = least_difference(n, discordant, 0.05)
    p = (discordant + d) / 2
    found = 0.0
    for m in range(n + 1):
        weight = math.comb(n, m) * discordant**m * (1 - discordant) ** (n - m)
        if weight > 1e-9:
            q = p / discordant
            found += weight * sum(
                math.comb(m, b) * q**b * (1 - q) ** (m - b) for b in range(m + 1) if mcnemar(b, m - b) < 0.05
            )
    assert 0.74 < found < 0.81


@pytest.mark.parametrize(("n", "discordant"), [(100, 0.0), (8, 0.5)])
def test_least_difference_where_none_is_shown(n, discordant):
    assert least_difference(n, discordant, 0.05 / 435) is None
