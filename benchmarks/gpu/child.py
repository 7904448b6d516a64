"""One part in a process of its own: ``python -m benchmarks.gpu.child PART OPTIONS RESULT SECONDS``.

An error of CUDA makes the device useless to the process that it happens in, and a kernel may never end: neither must
take the other parts with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.cases import PARTS, run_part
from benchmarks.gpu.context import Context
from benchmarks.gpu.environment import describe_target
from benchmarks.gpu.ledger import Entry, Ledger
from benchmarks.gpu.options import Options
from benchmarks.gpu.target import open_target
from fastprobe.errors import DeviceError
from fastprobe.files import write_text

__all__ = ["ENVIRONMENT", "main"]

ENVIRONMENT = "environment"
"""Not a part: describes the device, and shows that it can be opened."""


def main(name: str, options_path: str, result_path: str, seconds: str) -> int:
    """Do a part, and keep the result file up to date; exit status 2 if the device cannot be opened.

    Parameters
    ----------
    name : str
    options_path, result_path : str
    seconds : str
        After which no more work is begun.
    """
    deadline, options = time.monotonic() + float(seconds), Options.read(Path(options_path))

    def save(entries: Mapping[str, Entry]) -> None:
        document = {key: asdict(entry) for key, entry in entries.items()}
        write_text(Path(result_path), json.dumps(document, default=lambda scalar: scalar.item()))

    ledger = Ledger(deadline, save, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        target = open_target(options.device)
        if name == ENVIRONMENT:
            write_text(Path(result_path), json.dumps(describe_target(target, options)))
        else:
            run_part(name, Context(options, target, ledger))
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        ledger.fail("(part)", error)
        return 1
    return 0


if __name__ == "__main__":
    assert sys.argv[1] in (ENVIRONMENT, *PARTS), "started by benchmarks.gpu.suite"
    sys.exit(main(*sys.argv[1:]))
