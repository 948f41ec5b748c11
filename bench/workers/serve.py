"""A worker's side of the measurement: it warms nothing up and decides nothing, it runs what it is asked for.

A worker is a process with one model. For each line on standard input, a number of epochs, it trains for so
long and answers with one line of JSON: `samples` and `seconds` of the timed epochs, and `epochs`, how many it
ran in all. Its standard error is a terminal, as it is for people, and what libraries print goes there too.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from workers.workload import Job

Answer = dict[str, Any]
Segment = Callable[[int], Answer]


def serve(make: Callable[[Job], Segment], versions: dict[str, str]) -> None:
    """Answer until the input ends; the first answer is what versions there are."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = Job.read(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):  # not every library can be told how many threads it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    segment = make(job)
    _answer(answers, {"versions": {"python": sys.version.split()[0], **versions}})
    for line in sys.stdin:
        _answer(answers, segment(int(line)))


def _answer(stream: Any, record: Answer) -> None:
    print(json.dumps(record), file=stream, flush=True)


def timed(epoch: Callable[[], Any], samples: int) -> Segment:
    """Segments of a function that trains for one epoch of so many samples."""

    def segment(epochs: int) -> Answer:
        start = time.perf_counter()
        for _ in range(epochs):
            epoch()
        seconds = time.perf_counter() - start
        return {"samples": epochs * samples, "seconds": seconds, "epochs": epochs}

    return segment
