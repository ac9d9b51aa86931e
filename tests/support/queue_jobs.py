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
