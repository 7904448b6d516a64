"""Run one command and write its wall time and peak memory as JSON: ``timed.py RESULT STDOUT STDERR COMMAND...``.

Run as a script, in a process of its own and with nothing large imported: on Linux the peak memory of a child counts
what its parent held at the moment of starting it, so a benchmark full of arrays must not start the child itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(result: str, stdout: str, stderr: str, *command: str) -> None:
    """Run the command to its end, whatever its exit status."""
    with Path(stdout).open("wb") as out, Path(stderr).open("wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    record = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * unit,
        "exit_status": os.waitstatus_to_exitcode(status),
    }
    Path(result).write_text(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
