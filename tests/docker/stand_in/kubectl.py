"""As much of kubectl as a health check needs, for the image that stands in for K3s.

kubectl [--kubeconfig=FILE] get --raw=PATH
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.docker.stand_in.k3s import KUBECONFIG

SECONDS = 5.0


def arguments() -> argparse.Namespace:
    """Of the kubeconfigs it takes the same one as K3s's kubectl, which does not know K3S_KUBECONFIG_OUTPUT."""
    parser = argparse.ArgumentParser(prog="kubectl", description=__doc__, allow_abbrev=False)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG") or KUBECONFIG, type=Path)
    verbs = parser.add_subparsers(required=True, metavar="get")
    verbs.add_parser("get", allow_abbrev=False).add_argument("--raw", required=True, metavar="PATH")
    return parser.parse_args()


def secure(values: dict[str, str]) -> ssl.SSLContext:
    found = {name: base64.b64decode(value).decode() for name, value in values.items() if name.endswith("-data")}
    context = ssl.create_default_context(cadata=found["certificate-authority-data"])
    with tempfile.NamedTemporaryFile("w") as own:
        own.write(found["client-certificate-data"] + found["client-key-data"])
        own.flush()
        context.load_cert_chain(own.name)
    return context


def main() -> int:
    asked = arguments()
    try:
        # The file is k3s.py's: one cluster, one user, every value on a line of its own.
        values = dict(re.findall(r"^\s*([\w-]+): (\S+)$", asked.kubeconfig.read_text(), re.MULTILINE))
        with urllib.request.urlopen(values["server"] + asked.raw, timeout=SECONDS, context=secure(values)) as answer:
            sys.stdout.write(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        print(f"kubectl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
