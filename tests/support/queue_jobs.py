"""Jobs for the queue of benchmarks, which run in a process of their own."""

import os
import time


def answers(settings, value=1):
    return {"value": value, "process": os.getpid()}


def fails(settings):
    raise ValueError("on purpose")


def dies(settings):
    os._exit(7)


def hangs(settings):
    time.sleep(600)


def stops_early(settings):
    # Imported late: this module is imported where there is no such module too.
    from job_queue import UnfinishedError

    raise UnfinishedError({"so_far": 3})
