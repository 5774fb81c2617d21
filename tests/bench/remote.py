"""Files per second from a folder, a tar archive, the web and an S3 store, all on this machine, in one run.

    python tests/bench/remote.py 2000

The web server is Python's, the store is moto's: they share the cores with sertool, so these are lower bounds; what is
measured is that nothing stands still, and what a file costs beside its label. Peak memory is of a fresh process.
"""

import functools
import http.server
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

from sertool import bundle

SAMPLE = next((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))


#: Seconds that the web server takes before each answer: a store in another town.
DELAY_S = 0.05


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def parse_request(self) -> bool:
        if self.server.server_name == "far":
            time.sleep(DELAY_S)
        return super().parse_request()


def run(source: str, output: Path, environment: dict[str, str], jobs: int | None) -> tuple[float, float]:
    """Return (seconds, peak megabytes) of labelling a source."""
    command = [
        "/usr/bin/env",
        "time",
        "-f",
        "%M",
        sys.executable,
        "-m",
        "sertool",
        "label",
        source,
        "-m",
        "wav2small",
        "-q",
    ]
    command += ["--jobs", str(jobs)] if jobs else []
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-o", str(output), "--restart"], capture_output=True, text=True, env=os.environ | environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - started, int(re.findall(r"\d+", done.stderr)[-1]) / 1000


def main() -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").disabled = True
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "calls"
        folder.mkdir()
        for number in range(count):
            shutil.copy(SAMPLE, folder / f"{number:06d}.wav")
        with tarfile.open(Path(name) / "calls.tar", "w") as tar:
            tar.add(folder, ".")
        web = []
        for name_of_server in ("near", "far"):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
            server.server_name = name_of_server
            threading.Thread(target=server.serve_forever, daemon=True).start()
            web.append(server)
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        keys = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
        }
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=keys["FSSPEC_S3_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="calls")
        for path in folder.iterdir():
            client.put_object(Bucket="calls", Key=f"data/{path.name}", Body=path.read_bytes())
        near, far = (f"http://127.0.0.1:{server.server_port}/" for server in web)
        for what, source, jobs in (
            ("folder", str(folder), None),
            ("tar", str(Path(name) / "calls.tar"), None),
            ("web", near, None),
            (f"web, {1000 * DELAY_S:.0f} ms away", far, None),
            (f"web, {1000 * DELAY_S:.0f} ms away", far, 2),
            ("S3", "s3://calls/data", None),
        ):
            seconds, memory = run(source, Path(name) / "labels.csv", keys, jobs)
            print(
                f"{what:18} jobs {jobs or 'default':>7}  {count / seconds:6.0f} files/s  {seconds:6.1f} s  "
                f"peak {memory:.0f} MB",
                flush=True,
            )
        moto.stop()


if __name__ == "__main__":
    main()
