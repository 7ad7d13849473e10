"""How does a data set get to a hub? (docs/rows.md)"""

from pathlib import Path

from fino1.errors import SpecError, ToolError, first_line
from fino1.rows.output import PUBLISHED


def check_name(repository: str) -> None:
    """Raise SpecError for a name that no repository may have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise SpecError(f"--push: {repository}: expected ORG/NAME, got {first_line(error)}") from error


def push(directory: Path, repository: str, public: bool) -> str:
    """Upload the files that may be published to a dataset repository, made private unless `public`; returns its address.

    `HF_ENDPOINT` and `HF_TOKEN` count. Raises SpecError for a refusal, and for a public repository without `public`;
    ToolError where the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    check_name(repository)
    api = HfApi()
    try:
        address = api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        if not public and not api.repo_info(repository, repo_type="dataset").private:
            raise SpecError(f"--push: {repository}: expected a private repository, or --public, got a public one")
        api.upload_folder(
            folder_path=directory,
            repo_id=repository,
            repo_type="dataset",
            allow_patterns=sorted(PUBLISHED),
            commit_message="Rows of fino1",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = {401: "; HF_TOKEN needs a valid token", 403: "; HF_TOKEN needs the right to write there"}.get(status, "")
        got = f"{status} {error.server_message or first_line(error)}".splitlines()[0]
        text = f"--push: {repository}: expected {api.endpoint} to take it, got {got}{hint}"
        raise (SpecError if 400 <= status < 500 else ToolError)(text) from error
    except HfHubHTTPError.__bases__ as error:  # OSError, and what httpx raises, which newer releases have as httpx2
        raise ToolError(f"--push: {repository}: {api.endpoint}: {first_line(error)}") from error
    return str(address)
