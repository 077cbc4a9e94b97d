"""Fetch the wheels that hold libtorch, check each against its hash, and unpack them into the cache folder.

usage: fetch_libtorch.py CACHE NAME [REQUIREMENT FILE SHA256]...

Wheels are kept in CACHE/downloads, and libtorch appears as CACHE/NAME when it is whole. A wheel that is there with the
right hash is not fetched again; one that was fetched in part is continued. Needs Python 3.8 and any pip since 20.3.
"""

import errno
import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

# The C++ libraries are the same in the wheels for every Python, so the host's own version does not matter.
TARGET = [
    "--no-cache-dir",
    "--no-deps",
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.12",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_25_x86_64",
]
# What a C++ program needs of a wheel; the rest is Python.
NEEDED = ("torch/lib/", "torch/include/", "torch/version.py", "nvidia/")
CHUNK = 1 << 20


def main(cache, name, *wheels):
    downloads, libtorch = Path(cache, "downloads"), Path(cache, name)
    downloads.mkdir(parents=True, exist_ok=True)
    with open(Path(cache, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another setup to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not (libtorch / "torch/lib/libtorch_cpu.so").exists():
            rows = zip(wheels[0::3], wheels[1::3], wheels[2::3])
            unpack([fetched(requirement, downloads / file, sha256) for requirement, file, sha256 in rows], libtorch)


def fetched(requirement, wheel, sha256):
    """The wheel, with the right hash."""
    if wheel.exists():
        if hash_of(wheel) == sha256:
            return wheel
        say(f"{wheel.name} is damaged and is fetched again")
        wheel.unlink()
    if importlib.util.find_spec("pip") is None:
        sys.exit("python3 has no pip (Debian and Ubuntu have it in the package python3-pip)")
    part = wheel.with_name(wheel.name + ".part")
    continued = part.exists()
    download(requirement, part, sha256)
    if continued and hash_of(part) != sha256:
        say(f"what was there of {wheel.name} is damaged; it is fetched from the start")
        part.unlink()
        download(requirement, part, sha256)
    if hash_of(part) != sha256:
        part.unlink()
        sys.exit(f"the package index offers another file as {requirement} than the one with sha256 {sha256}")
    return part.rename(wheel)


def download(requirement, part, sha256):
    """Bring `part` to the length of the whole file.

    The address, certificates, proxies and credentials are those of pip, used as a library: its commands tell no address
    without fetching the file, and start over when they were interrupted. It promises no such use, hence the second way.
    """
    try:
        session, url = locate(requirement, sha256)
    except (ImportError, AttributeError, TypeError) as change:
        say(f"this pip can only be run as a command ({change}): an interrupted download starts over")
        return download_by_command(requirement, part)
    from pip._vendor.requests import RequestException

    fruitless = 0
    while True:
        before = size_of(part)
        try:
            if request_rest(session, url, part, requirement):
                return
            failure = "the connection was closed"
        except RequestException as error:
            failure = error
        # A connection that brings something is worth renewing; several that bring nothing are not.
        fruitless = fruitless + 1 if size_of(part) <= before else 0
        if fruitless == 3:
            sys.exit(f"{requirement} could not be fetched: {failure}; the next run goes on at {before / 1e6:.0f} MB")
        time.sleep(fruitless)


def locate(requirement, sha256):
    """A connection as pip makes it, and the address of the file that it would download."""
    from pip._internal.cli.cmdoptions import make_target_python
    from pip._internal.commands import create_command
    from pip._internal.utils.hashes import Hashes
    from pip._vendor.packaging.requirements import Requirement

    command = create_command("download")
    with command.main_context():
        options, _ = command.parse_args(TARGET)
        # Made outside of the context, which would close it at its end.
        session = command._build_session(options)
        finder = command._build_package_finder(options, session, target_python=make_target_python(options))
        wanted = Requirement(requirement)
        hashes = Hashes({"sha256": [sha256]})
        found = finder.find_best_candidate(wanted.name, wanted.specifier, hashes).best_candidate
    if found is None:
        sys.exit(f"pip finds no {requirement}: is the package index within reach?")
    return session, found.link.url_without_fragment


def request_rest(session, url, part, requirement):
    """Append what one request brings; whether the file is whole now."""
    done = size_of(part)
    headers = {"Range": f"bytes={done}-", "Accept-Encoding": "identity"}
    with session.get(url, headers=headers, stream=True) as response:
        if response.status_code == 416:  # There is nothing left to send.
            return True
        response.raise_for_status()
        if response.status_code != 206:  # The server knows no ranges, and sends everything.
            done = 0
        progress = Progress(requirement, done, done + int(response.headers["Content-Length"]))
        with open(part, "ab" if done else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress.show(done)
    return done == progress.total


def download_by_command(requirement, part):
    folder = part.with_name(part.name + ".folder")
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", *TARGET, f"--dest={folder}", requirement]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"pip could not fetch {requirement}")
    [file] = folder.iterdir()
    file.replace(part)
    folder.rmdir()


def unpack(wheels, libtorch):
    part = libtorch.with_name(libtorch.name + ".part")
    for left_over in part, libtorch:
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        for wheel in wheels:
            say(f"unpacking {wheel.name}")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(part, [name for name in archive.namelist() if name.startswith(NEEDED)])
        part.rename(libtorch)
    except BaseException:
        # Half a libtorch is of no use, and on a full disk it is in the way.
        shutil.rmtree(part, ignore_errors=True)
        raise


class Progress:
    """One line that is written anew on a terminal, a line for every tenth elsewhere."""

    def __init__(self, name, start, total):
        self.name, self.start, self.total = name, start, total
        self.began = time.monotonic()
        self.shown = 0.0 if sys.stdout.isatty() else start

    def show(self, done):
        now = time.monotonic()
        rate = (done - self.start) / max(now - self.began, 1e-3)
        megabytes = f"{done / 1e6:.1f} of {self.total / 1e6:.1f} MB"
        text = f"{self.name}: {megabytes}, {100 * done // self.total} %, {rate / 1e6:.1f} MB/s"
        if sys.stdout.isatty():
            if now - self.shown >= 0.1 or done == self.total:
                self.shown = now
                say(f"\r{text:78}", end="\n" if done == self.total else "")
        elif 10 * (done - self.shown) >= self.total or done == self.total:
            self.shown = done
            say(text)


def hash_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def say(text, end="\n"):
    print(text, end=end, flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted; the next run goes on from here")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(f"the disk of {sys.argv[1]} is full: libtorch takes 1.6 GB there, or in the folder that RLPC_CACHE names")
        sys.exit(str(error))
