"""Which of FinQA's golds were corrected by others, and what are they then? (docs/scoring.md §10)

Source: FinanceReasoning (arXiv 2506.05828), which reviewed FinQA's questions. Each was checked against its row's page and
table: the published program takes another row, year or figure than the question names.
"""

CORRECTED: dict[str, tuple[float, float]] = {
    "BLL/2012/page_31.pdf-4": (110.49, 99.86),  # 207.62 - 107.76: the index asked for, not the S&P 500
    "ETFC/2011/page_144.pdf-2": (4.6, 38.6),  # 19.3 / 0.5: collateral of 2010, not of 2011
    "PNC/2012/page_65.pdf-4": (61545.0, 50685.0),  # 51052 - 367: securities available for sale, not all securities
    "ETR/2016/page_23.pdf-3": (6111.0, 5547.0),  # 5829 - 187 - 95: both effects taken away, not added
    "DG/2005/page_44.pdf-2": (5.8, 2.1),  # 0.5 + 0.6 + 0.6 + 0.2 + 0.2: from 2003 to 2005 only, stores included
}
"""The row's id → its published and its corrected gold."""


def find_correction(identity: str | None, gold: float | bool) -> float | None:
    """Return the corrected gold of a row; None where it has none, or a gold that is not the published one."""
    published, corrected = CORRECTED.get(identity or "", (None, None))
    return corrected if published == gold else None
