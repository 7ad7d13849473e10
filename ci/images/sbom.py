"""What is in this image? As CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): run inside it, on standard input.

    python - NAME VERSION ID < sbom.py

Nothing but the standard library, for the image has no more than it needs.
"""

import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote


def components() -> Iterator[dict[str, object]]:
    """Which Python and which Debian packages are installed?"""
    for distribution in sorted(distributions(), key=lambda each: each.name.lower()):
        purl = f"pkg:pypi/{distribution.name.lower().replace('_', '-')}@{quote(distribution.version)}"
        licence = distribution.metadata.get("License-Expression")
        found = {"licenses": [{"expression": licence}]} if licence else {}
        yield {"name": distribution.name, "version": distribution.version, "purl": purl, **found}
    system = platform.freedesktop_os_release()
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    for paragraph in Path("/var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            query = f"arch={fields['Architecture']}&distro={distro}"
            purl = f"pkg:deb/{system['ID']}/{quote(fields['Package'])}@{quote(fields['Version'])}?{query}"
            yield {"name": fields["Package"], "version": fields["Version"], "purl": purl}


def main(name: str, version: str, identity: str) -> None:
    """Print the document. No time and no serial number: the same image gives the same bytes."""
    image = {"type": "container", "bom-ref": "image", "name": name, "version": version}
    parts = [{"type": "library", "bom-ref": each["purl"], **each} for each in components()]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image | {"properties": [{"name": "oci:image:config", "value": identity}]}},
        "components": parts,
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
