"""The virtual environment of the peers, below the user's cache folder and never in a checkout."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Everything is pinned, and nothing brings its dependencies: those of torch would be 2.5 GB of CUDA.
REQUIREMENTS = HERE / "requirements.txt"
# Measured where they can be installed, and left out where not.
OPTIONAL = HERE / "optional.txt"


def folder():
    """`$XDG_CACHE_HOME/rlpc/peers`, or `~/.cache/rlpc/peers`."""
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache"
    return base / "rlpc" / "peers"


def ready():
    """The environment's Python and the variables that it needs; makes the environment if it is not there."""
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = make(root)
    variables = dict(os.environ)
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(
        filter(None, [str(root / "stubs"), variables.get("LD_LIBRARY_PATH")])
    )
    variables.setdefault("OMP_WAIT_POLICY", "passive")  # as rlpc has it: waiting threads sleep
    variables.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    # What is compiled is kept apart from other users of this machine, and can be cleared (`--cold`).
    variables["TORCHINDUCTOR_CACHE_DIR"] = str(root / "inductor")
    return python, variables


def make(root):
    """The Python of an environment that holds what the requirements say; `done` names what was installed."""
    python, done = root / "venv/bin/python", root / "done"
    wanted = fingerprint()
    if done.exists() and done.read_text() == wanted:
        return python
    say(f"installing the peers into {root} (about 2 GB, once)")
    done.unlink(missing_ok=True)
    subprocess.check_call([sys.executable, "-m", "venv", "--clear", root / "venv"])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    fetched = root.parent / "downloads"  # where `cargo xtask setup` keeps its wheels
    if fetched.is_dir():
        pip.append(f"--find-links={fetched}")
    subprocess.check_call([*pip, "--requirement", REQUIREMENTS])
    for line in OPTIONAL.read_text().split():
        if subprocess.call([*pip, line]) != 0:
            say(f"{line} cannot be installed, and is not measured")
    subprocess.check_call([python, HERE / "stubs.py", root / "stubs"])
    done.write_text(wanted)
    return python


def fingerprint():
    """Changes whenever something else would be installed."""
    hashed = hashlib.sha256(sys.version.encode())
    for file in (REQUIREMENTS, OPTIONAL, HERE / "stubs.py"):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


def say(text):
    print(text, file=sys.stderr, flush=True)
