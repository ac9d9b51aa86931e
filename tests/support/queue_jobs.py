"""Jobs for the queue of benchmarks, which run in a process of their own."""

import os
import time

import numpy as np


def answers(smoke):
    return {"value": 1, "process": os.getpid()}


def answers_anew(smoke):
    return {"value": 2}


def numbers_of_numpy(smoke):
    return {"single": np.float32(0.5), "whole": [np.int64(3)], "yes": np.bool_(True)}


def no_json(smoke):
    return {"value": object()}


def does_not_hold(smoke):
    return {"value": 1, "failed": ["gradients of a step"]}


def fails(smoke):
    raise ValueError("on purpose")


def dies(smoke):
    os._exit(7)


def hangs(smoke):
    time.sleep(600)
