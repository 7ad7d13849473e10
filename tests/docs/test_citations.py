"""Whatever code, charts, manifests, messages and pages cite is in this repository, or public."""

import pytest

from tests.docs.citations import BINARY, ROOT, broken, contracts, sections, tracked

MINE = {"tests/docs/citations.py", "tests/docs/test_citations.py"}  # they quote what is wrong


def test_every_citation_leads_somewhere():
    found = [
        problem
        for name in tracked()
        if name not in MINE and (ROOT / name).suffix not in BINARY
        for problem in broken(name, (ROOT / name).read_text())
    ]
    assert not found, "\n".join(map(str, ["citations that lead nowhere:", *found]))


def test_the_pages_that_code_cites_have_their_numbers():
    assert contracts() == {str(number) for number in range(1, 14)}
    assert sections("scoring.md") == {str(number) for number in range(1, 17)}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("fino1/x.py", '"""What? (DESIGN C5)"""'),
        ("fino1/x.py", "# STYLE §3"),
        ("fino1/x.py", '"DESIGN.md §1 (digest-pinned images)"'),
        ("fino1/x.py", '"""(reference/fino1.md §4.6.4)"""'),
        ("fino1/x.py", "# reference fino1.md"),
        ("charts/x/values.yaml", "# C7 name → name in the file"),
        ("charts/x/values.yaml", "# the seed's flag has no effect"),
        ("fino1/x.py", '"""Ends the name of the run\'s directory (C13)."""'),
        ("fino1/x.py", "# docs/design.md C14"),
        ("fino1/x.py", "# docs/scoring.md §6\n# and §99"),
        ("fino1/x.py", "# §6"),
        ("fino1/x.py", "# docs/plan.md §6"),
        ("fino1/x.py", "# docs/none.md"),
        ("fino1/x.py", "# docs/plan.md#none"),
        ("fino1/x.py", "# fino1/none.py"),
        ("tests/x.py", "# as test_none.py does"),
        ("README.md", "`tests/train/{test_launch,none}.py`"),
        ("docs/x.md", "[x](none.md)"),
        ("docs/x.md", "[x](plan.md#none)"),
        ("docs/x.md", "[x](#none)"),
    ],
)
def test_a_dead_citation_is_found(file, text):
    if file.startswith("docs/") and "#none)" in text:
        file = "docs/plan.md"
    assert [*broken(file, text)], text


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("fino1/x.py", '"""What? (docs/design.md C4, C5)"""'),
        ("fino1/x.py", "# docs/scoring.md §3\n# and §6"),
        ("fino1/x.py", "# arXiv 1910.02054 §3.1, RFC 9110 §10.2.3"),
        ("fino1/x.py", "# docs/plan.md#doctor"),
        (
            "fino1/x.py",
            "# fino1/exits.py, manifests/runs/*.yaml, tests/train/test_{launch,exits}.py, manifests/runs/NAME.yaml",
        ),
        ("docs/x.md", "[x](plan.md#doctor), [y](../README.md), [z](https://example.com/#x)"),
        ("docs/scoring.md", "by §3 to §9"),
        ("docs/design.md", "(C13)"),
    ],
)
def test_a_live_citation_is_let_through(file, text):
    assert not [*broken(file, text)], text
