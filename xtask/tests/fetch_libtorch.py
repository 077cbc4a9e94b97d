"""Fetches a small wheel with pip from a package index of this process, through every mishap that a download can have."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

SCRIPT = Path(__file__).parent.parent / "fetch_libtorch.py"
FILE = "torch-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
LIBRARY = os.urandom(3_000_000)


def wheel():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("torch/lib/libtorch_cpu.so", LIBRARY)
        archive.writestr("torch/version.py", "__version__ = '1.0'")
        archive.writestr("torch/nn/modules.py", "the Python half")
        archive.writestr("torch-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
        archive.writestr("torch-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\n")
    return buffer.getvalue()


WHEEL = wheel()
SHA256 = hashlib.sha256(WHEEL).hexdigest()


class Index(BaseHTTPRequestHandler):
    """A package index that offers one wheel, and notes where each request for it starts."""

    offered = WHEEL
    knows_ranges = True
    breaks_after = None
    starts = []

    def do_GET(self):
        if not self.path.endswith(".whl"):
            return self.answer(200, f'<a href="/{FILE}">{FILE}</a>'.encode(), {"Content-Type": "text/html"})
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.starts.append(start)
        if not self.knows_ranges:
            return self.answer(200, self.offered, {})
        if start >= len(self.offered):
            return self.answer(416, b"", {})
        self.answer(206, self.offered[start:], {"Content-Range": f"bytes {start}-/{len(self.offered)}"})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.breaks_after if self.path.endswith('.whl') else None])

    def log_message(self, *_):
        pass


class Fetch(unittest.TestCase):
    def setUp(self):
        self.index = type("Index", (Index,), {"starts": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), self.index)
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        folder = tempfile.TemporaryDirectory()
        for undo in folder.cleanup, server.server_close, server.shutdown:
            self.addCleanup(undo)
        self.cache = Path(folder.name)
        self.whole = self.cache / "downloads" / FILE
        self.part = self.cache / "downloads" / f"{FILE}.part"
        self.part.parent.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("PIP_", "HTTP"))}
        address = f"http://127.0.0.1:{server.server_port}/simple"
        pip = {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "NO_PROXY": "127.0.0.1"}
        self.environment = {**kept, **pip}
        self.program = [SCRIPT]

    def start(self):
        command = [sys.executable, "-B", *self.program, self.cache, "libtorch", "torch==1.0", FILE, SHA256]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.environment)

    def succeeds(self):
        process = self.start()
        out, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual((self.cache / "libtorch/torch/lib/libtorch_cpu.so").read_bytes(), LIBRARY)
        return out

    def fails(self):
        process = self.start()
        _, err = process.communicate()
        self.assertEqual(process.returncode, 1, err)
        self.assertFalse((self.cache / "libtorch").exists())
        return err

    def test_a_whole_download(self):
        self.assertIn("torch==1.0: 3.0 of 3.0 MB, 100 %", self.succeeds())
        self.assertEqual(self.whole.read_bytes(), WHEEL)
        self.assertFalse((self.cache / "libtorch/torch/nn").exists(), "the Python half is left out")
        self.succeeds()
        self.assertEqual(self.index.starts, [0], "a second setup fetches nothing")

    def test_a_download_that_was_killed_goes_on_where_it_stopped(self):
        self.part.write_bytes(WHEEL[:1_234_567])
        self.succeeds()
        self.assertEqual(self.index.starts, [1_234_567])

    def test_a_download_that_was_killed_at_its_end(self):
        self.part.write_bytes(WHEEL)
        self.succeeds()
        self.assertEqual(self.index.starts, [len(WHEEL)])

    def test_a_connection_that_breaks_is_renewed(self):
        self.index.breaks_after = 1_100_000
        self.succeeds()
        self.assertEqual(self.index.starts[0], 0)
        self.assertTrue(all(start > 0 for start in self.index.starts[1:]), self.index.starts)

    def test_a_connection_that_brings_nothing_is_given_up(self):
        self.index.breaks_after = 0
        self.assertRegex(self.fails(), "torch==1.0 could not be fetched: .*the next run goes on at 0 MB")

    def test_a_server_without_ranges_sends_all_again(self):
        self.index.knows_ranges = False
        self.part.write_bytes(WHEEL[:1_234_567])
        self.succeeds()

    def test_a_damaged_part_is_fetched_from_the_start(self):
        self.part.write_bytes(b"damage" + WHEEL[6:1_234_567])
        self.assertIn("damaged", self.succeeds())
        self.assertEqual(self.index.starts, [1_234_567, 0])

    def test_a_damaged_wheel_is_fetched_again(self):
        self.whole.write_bytes(WHEEL[:-1])
        self.assertIn(f"{FILE} is damaged", self.succeeds())
        self.assertEqual(self.whole.read_bytes(), WHEEL)

    def test_another_file_is_refused(self):
        self.index.offered = WHEEL[:-1] + b"!"
        self.assertIn(f"another file as torch==1.0 than the one with sha256 {SHA256}", self.fails())
        self.assertEqual(list(self.part.parent.iterdir()), [], "nothing of it is kept")

    def test_an_index_out_of_reach(self):
        self.environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
        self.assertIn("pip finds no torch==1.0: is the package index within reach?", self.fails())

    def test_a_pip_that_is_no_library_is_run_as_a_command(self):
        change = "import pip._internal.commands as commands; del commands.create_command"
        run = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
        self.program = ["-c", f"{change}; {run}"]
        self.assertIn("this pip can only be run as a command", self.succeeds())

    def test_an_unwritable_cache(self):
        self.cache = self.part
        self.part.write_bytes(b"")
        self.assertIn("Not a directory", self.start().communicate()[1])

    def test_a_libtorch_that_lost_its_library_is_unpacked_again(self):
        self.succeeds()
        (self.cache / "libtorch/torch/lib/libtorch_cpu.so").unlink()
        self.succeeds()

    def test_two_at_once(self):
        both = [self.start(), self.start()]
        outputs = [process.communicate() for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], outputs)
        self.assertEqual(self.index.starts, [0], "the second waits and finds what the first fetched")
        self.succeeds()


if __name__ == "__main__":
    unittest.main()
