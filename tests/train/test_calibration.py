import pytest

from fino1.intervals import wilson
from fino1.train.verifier import calibration

P = [0.95, 0.85, 0.45, 0.05, 0.97, 0.41]
LABELS = [True, False, True, False, True, False]


def test_by_hand():
    report = calibration.report(P, LABELS, 0.4)
    assert report["confusion"] == {"true_right": 2, "false_right": 1, "false_wrong": 1, "true_wrong": 2}
    assert (report["n"], report["correct"], report["accuracy"]) == (6, 4, pytest.approx(4 / 6))
    assert report["interval"] == list(wilson(4, 6))
    at = report["at_threshold"]
    assert at["confusion"] == {"true_right": 3, "false_right": 2, "false_wrong": 0, "true_wrong": 1}
    assert (at["threshold"], at["correct"]) == (0.4, 4)
    errors = [0.05**2, 0.85**2, 0.55**2, 0.05**2, 0.03**2, 0.41**2]
    assert report["brier"] == pytest.approx(sum(errors) / 6)
    # tenths: 0.05 → 0 of 1; 0.45 and 0.41 → 1 of 2; 0.85 → 0 of 1; 0.95 and 0.97 → 2 of 2
    assert report["ece"] == pytest.approx((0.05 + 2 * abs(0.43 - 0.5) + 0.85 + 2 * 0.04) / 6)


def test_reliability_has_ten_bins_with_all_pairs():
    bins = calibration.reliability([(0.0, False), (0.1, True), (0.999, True), (1.0, False)])
    assert [b["n"] for b in bins] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert [b["right"] for b in bins] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert bins[9]["mean_p"] == pytest.approx(0.9995)
    assert bins[2]["mean_p"] is None
    assert (bins[3]["from"], bins[3]["to"]) == (0.3, 0.4)


def test_one_who_knows_nothing_is_calibrated_on_balanced_pairs():
    report = calibration.report([0.5] * 10, [True, False] * 5, 0.4)
    assert (report["brier"], report["ece"]) == (0.25, 0.0)
    assert report["accuracy"] == report["at_threshold"]["accuracy"] == 0.5
