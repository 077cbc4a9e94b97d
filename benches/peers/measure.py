"""What every measurement of a peer shares: its arguments, its clocks, its lines of JSON."""

import argparse
import json
import os
import resource
import statistics
import time


def arguments(description, **further):
    """`--threads`, and further arguments by name with their defaults; a default of False makes a flag."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    for name, default in further.items():
        option = "--" + name.replace("_", "-")
        if default is False:
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=type(default), default=default)
    return parser.parse_args()


def torch_with(threads):
    """torch on so many threads, with its random numbers at their start."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch


def timed(run, repeat, warm_up=1):
    """Wall and CPU seconds (of all threads) of each repetition."""
    for _ in range(warm_up):
        run()
    wall, cpu = [], []
    for _ in range(repeat):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - start)
    return {
        "seconds": min(wall),
        "median_seconds": statistics.median(wall),
        "cpu_seconds": min(cpu),
        "repeat": repeat,
    }


def peak_mib():
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(bench, case, **numbers):
    """One line of JSON; numbers with the digits that mean something."""
    shown = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in numbers.items()}
    print(json.dumps({"bench": bench, "case": case, "load": round(os.getloadavg()[0], 1), **shown}), flush=True)
