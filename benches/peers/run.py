#!/usr/bin/env python3
"""Measure what others do with the same work, one line of JSON a result.

usage: run.py [loss|head|optim|reward|gen|grpo|imports|all]... [--threads N] [--cold] [--save [--best]] [--setting A|B|C|V]

The first use makes a virtual environment in the user's cache folder. Every measurement runs in a process of its own.
`--save` keeps the lines in `results/`, with what the machine is; with `--best` a line that is there already stays if it
took less time. `--cold` lets `torch.compile` start without its cache.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # a checkout stays as it is
import environment  # noqa: E402

HERE = environment.HERE
SETTINGS = ("A", "B", "C", "V")
HEADS = (
    "log_softmax + gather", "TRL selective_log_softmax", "TRL chunked head", "TRL chunked head, entropy",
    "checkpointed chunks of 512",
)  # fmt: skip
KINDS = ("imports", "loss", "head", "optim", "reward", "gen", "grpo")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, "all"], default=["all"], metavar="KIND")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--setting", choices=SETTINGS, action="append", help="of grpo; all four if absent")
    args = parser.parse_args()
    kinds = [kind for kind in KINDS if kind in args.kinds or "all" in args.kinds]
    python, variables = environment.ready()
    variables["OMP_NUM_THREADS"] = str(args.threads)
    if args.cold:
        shutil.rmtree(variables["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)
    results = []
    for kind in kinds:
        for command in commands(kind, args, python):
            results += lines(command, kind, variables)
    if args.save:
        save(results, args, python, variables)


def commands(kind, args, python):
    """The processes of a kind of measurement."""
    script = [python, HERE / f"{kind}.py", "--threads", str(args.threads)]
    if kind == "imports":
        yield [python, "-c", IMPORTS]
    elif kind == "head":
        yield from ([*script, "--case", case] for case in HEADS)
    elif kind == "grpo":
        yield from ([*script, "--setting", setting] for setting in args.setting or SETTINGS)
    elif kind == "reward":
        yield script
        yield from closure()
    else:
        yield [*script, "--cold"] if args.cold and kind in ("loss", "optim") else script


# From the start of the process, as its user feels it.
IMPORTS = """
import json, time
start = time.perf_counter()
import torch, transformers, trl
from trl import GRPOConfig, GRPOTrainer
print(json.dumps({"bench": "imports", "case": "torch, transformers, trl", "seconds": round(time.perf_counter() - start, 2),
                  "cpu_seconds": round(time.process_time(), 2)}))
"""


def closure():
    """The same arithmetic compiled by rustc, where there is one."""
    if shutil.which("rustc") is None:
        return
    built = environment.folder() / "arithmetic"
    subprocess.check_call(["rustc", "-O", "-Ctarget-cpu=native", "--edition=2024", "-o", built, HERE / "arithmetic.rs"])
    yield [built]


def lines(command, kind, variables):
    """What a process tells, line by line as it comes; a failure is told as well, and the rest goes on."""
    told = []
    with tempfile.TemporaryFile("w+") as complaint:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaint, text=True, env=variables) as process:
            for line in process.stdout:
                if line.startswith('{"bench"'):
                    told.append(json.loads(line))
                    print(line, end="", flush=True)
        complaint.seek(0)
        last = (complaint.read().strip().splitlines() or ["no word"])[-1]
    if process.returncode != 0:
        failure = {"bench": kind, "case": " ".join(map(str, command[2:])), "error": last}
        told.append(failure)
        print(json.dumps(failure), flush=True)
    return told


def save(results, args, python, variables):
    """`results/threads-N.json`: what is measured again replaces what there was of it."""
    path = HERE / "results" / f"threads-{args.threads}.json"
    path.parent.mkdir(exist_ok=True)
    old = json.loads(path.read_text())["results"] if path.exists() else []
    kept = {(line["bench"], line["case"]): line for line in old}
    for line in results:
        name = line["bench"], line["case"]
        kept[name] = better(kept[name], line) if args.best and name in kept else line
    document = {"machine": machine(args.threads, python, variables), "results": list(kept.values())}
    path.write_text(json.dumps(document, indent=1) + "\n")
    environment.say(f"kept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def better(old, new):
    """The one that took less; the time to a first result is that of the one that began with nothing compiled."""
    if "error" in old or "error" in new:
        return new if "error" in old else old
    best = min(old, new, key=lambda line: line.get("cpu_seconds", line["seconds"]))
    first = {name: value for name, value in old.items() if name.startswith("first") or name == "cold"}
    return best | first if old.get("cold") else best


def machine(threads, python, variables):
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    info = {name.strip(): value.strip() for name, value in info.items()}
    versions = "import torch, transformers, trl; print(torch.__version__, transformers.__version__, trl.__version__)"
    found = subprocess.check_output([python, "-c", versions], text=True, env=variables, stderr=subprocess.DEVNULL).split()
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": info.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "avx512": "avx512f" in info.get("flags", ""),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **dict(zip(("torch", "transformers", "trl"), found)),
    }


if __name__ == "__main__":
    sys.exit(main())
