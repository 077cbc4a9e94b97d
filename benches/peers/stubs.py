"""Lets the CUDA build of torch be imported on a machine without CUDA's libraries.

usage: stubs.py FOLDER        (needs gcc and nm)

`import torch` links eleven libraries that would be 2.5 GB of wheels, for work that never leaves the CPU. This makes an
empty stand-in for each, with the symbols and symbol versions that torch asks for; every function of it returns 1, so
CUDA reports that it is not available. `libtorch_cpu.so` needs none of them.
"""

import collections
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

# Of each library: the version node of its symbols, if it has one, and what its unversioned symbols look like.
LIBRARIES = {
    "libcublas.so.13": ("libcublas.so.13", "^cublas(?!Lt)"),
    "libcublasLt.so.13": ("libcublasLt.so.13", "^cublasLt"),
    "libcudnn.so.9": ("libcudnn.so.9", "^cudnn"),
    "libcufft.so.12": ("libcufft.so.12", "^cufft"),
    "libcufile.so.0": (None, "^cuFile"),
    "libcurand.so.10": ("libcurand.so.10", "^curand"),
    "libcusolver.so.12": ("libcusolver.so.12", "^cusolver"),
    "libcusparse.so.12": ("libcusparse.so.12", "^cusparse(?!Lt)"),
    "libcusparseLt.so.0": (None, "^cusparseLt"),
    "libnccl.so.2": (None, "^nccl"),
    "libnvshmem_host.so.3": ("NVSHMEM", "nvshmem"),
}
# What of torch is linked to them.
READERS = ("libc10_cuda", "libtorch_cuda", "libtorch_cuda_linalg", "libtorch_nvshmem", "libtorch_python")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    plain, versioned = undefined()
    for library, (version, pattern) in LIBRARIES.items():
        names = {name for name in plain if re.search(pattern, name)} | versioned[version]
        build(folder, library, version, sorted(name for name in names if re.fullmatch(r"\w+", name)))


def undefined():
    """The symbols that torch expects of others: those without a version, and those of each version."""
    torch = Path(importlib.util.find_spec("torch").origin).parent / "lib"
    plain, versioned = set(), collections.defaultdict(set)
    for reader in READERS:
        command = ["nm", "-D", "--undefined-only", torch / f"{reader}.so"]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            name, *version = re.split("@+", line.split()[-1])
            if version:
                versioned[version[0]].add(name)
            else:
                plain.add(name)
    versioned[None] = set()
    return plain, versioned


def build(folder, library, version, names):
    source = folder / "stub.c"
    functions = [f"int {name}(void) {{ return 1; }}\n" for name in names]
    source.write_text("".join(functions) or "int nothing;\n")
    command = ["gcc", "-shared", "-fPIC", "-o", folder / library, source, f"-Wl,-soname,{library}"]
    if version:
        script = folder / "stub.map"
        script.write_text(f"{version} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script={script}")
    subprocess.check_call(command)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
