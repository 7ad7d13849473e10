"""What do published data sets of reasoning paths call their columns? (docs/design.md C7)"""

from collections.abc import Mapping

NAMES: tuple[Mapping[str, str], ...] = (
    {},
    {"Question": "Open-ended Verifiable Question"},  # TheFinAI/Fino1_Reasoning_Path_FinQA, for SFT
    {  # TheFinAI/FinCoT
        "Complex_CoT": "Reasoning_process",
        "Response": "Final_response",
        "Open-ended Verifiable Question": "Question",
        "Ground-True Answer": "Answer",
    },
)


def find_names(names: dict[str, str], there: set[str]) -> dict[str, str]:
    """Return our columns' names in a file that has `there`: of the first published set that is all there, else `names`."""
    for published in NAMES:
        found = {column: name if name in there else published.get(column, name) for column, name in names.items()}
        if there.issuperset(name for column, name in found.items() if column != "label"):
            return found
    return names
