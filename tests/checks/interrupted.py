#!/usr/bin/env python3
"""Kills the demo at 50 random moments and starts it again each time; it must end with the very weights of a run that
nobody touched: interrupted.py <fashion_mnist> <scratch folder>, from the root of the sources."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

kills = 50
options = ["--small", "--epochs", "2", "--limit", "512", "--batch-size", "16", "--save-every", "0"]


def start(out):
    return subprocess.Popen([sys.argv[1], *options, "--out", str(out)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process, what, codes=(0,)):
    text, _ = process.communicate(timeout=600)
    if process.returncode not in codes:
        sys.exit(f"interrupted: {what}: exit code {process.returncode}\n{text}")
    return text


def result(out):
    summary = json.loads((out / "summary.json").read_text())
    return (out / "weights.safetensors").read_bytes(), summary["test_accuracy"]


def main():
    scratch = pathlib.Path(sys.argv[2])
    shutil.rmtree(scratch, ignore_errors=True)
    seed = int(os.environ.get("GRADUS_TEST_SEED", time.time_ns() % 1_000_000))
    print(f"GRADUS_TEST_SEED={seed}", flush=True)
    chance = random.Random(seed)

    began = time.monotonic()
    finish(start(scratch / "unbroken"), "the unbroken run")
    length = time.monotonic() - began
    wanted = result(scratch / "unbroken")
    if list((scratch / "unbroken").glob("run.*")):
        sys.exit("interrupted: a finished run leaves its checkpoint behind")

    killed = runs = 0
    while killed < kills:
        runs += 1
        out = scratch / f"broken{runs}"
        while True:
            process = start(out)
            try:
                process.wait(chance.uniform(0, 0.5 * length))
            except subprocess.TimeoutExpired:
                how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
                process.send_signal(how)
                killed += 1
            # Asked politely before it listens it just ends; so does one that was about to end anyway.
            finish(process, "an interrupted run", (0, 130, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM))
            if process.returncode == 0:
                break
        if result(out) != wanted:
            sys.exit(f"interrupted: run {runs} ended with other weights than the unbroken one")
        leftovers = [path.name for path in out.iterdir() if path.name.startswith("run.")]
        if leftovers:
            sys.exit(f"interrupted: a finished run leaves {leftovers} behind")
    print(f"killed {killed} times in {runs} runs; all ended with the same bits")

    process = start(scratch / "other")  # other settings are refused, --fresh starts anew
    while not list((scratch / "other").glob("run.*.safetensors")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    finish(process, "a killed run", (-signal.SIGKILL,))
    options[options.index("--epochs") + 1] = "3"
    text = finish(start(scratch / "other"), "other settings", (1,))
    if "belongs to a run with other settings" not in text:
        sys.exit(f"interrupted: other settings are not named\n{text}")
    options.append("--fresh")
    finish(start(scratch / "other"), "--fresh")


if __name__ == "__main__":
    main()
