"""OpenNN's own benchmark of a dense network, on a network of `deep_mlp`'s sizes: 28-300x5-1, relu, Adam, batch 100.

It trains with a sigmoid and cross entropy where deep_mlp has the mean squared error, gathers its batches from a table within
the time, and has Adam without weight decay; the matrix products, nearly all of the work, are the same."""

import os
import pathlib
import random
import re
import subprocess
import sys

REPOSITORY, COMMIT = "https://github.com/Artelnics/opennn", "630601e5ae426be75e005223912906ec2072346f"
BATCH, STEPS, EPOCHS = 100, 100, 30


def sources(given, folder):
    """A folder with OpenNN's sources, or exits with what is missing."""
    if given:
        if not os.path.exists(f"{given}/benchmarks/families/dense.cpp"):
            sys.exit(f"compare: {given} has no benchmarks/families/dense.cpp; --peer-source is a checkout of {REPOSITORY}, "
                     f"for instance its commit {COMMIT}")
        return given
    fetched = f"{folder}/opennn"
    if not os.path.exists(f"{fetched}/benchmarks/families/dense.cpp"):
        subprocess.run(["git", "init", "-q", fetched], check=True)
        got = subprocess.run(["git", "-C", fetched, "fetch", "-q", "--depth", "1", REPOSITORY, COMMIT], capture_output=True, text=True)
        if got.returncode:
            sys.exit(f"compare: OpenNN's sources are not here, and {REPOSITORY} gave none: {got.stderr.strip()}\n"
                     "compare: --peer-source FOLDER names a checkout")
        subprocess.run(["git", "-C", fetched, "checkout", "-q", "FETCH_HEAD"], check=True)
    return fetched


def build(source, folder):
    """The program, built as OpenNN's release is, without CUDA."""
    where = f"{folder}/opennn-build"
    off = [f"-DOpenNN_{name}=OFF" for name in ("BUILD_TESTS", "BUILD_EXAMPLES")]
    subprocess.run(["cmake", "-S", source, "-B", where, "-DCMAKE_BUILD_TYPE=Release", "-DOpenNN_BUILD_BENCHMARKS=ON",
                    "-DOpenNN_DISABLE_CUDA=ON", *off], check=True, stdout=sys.stderr)
    subprocess.run(["cmake", "--build", where, "--target", "dense_opennn", "--parallel", str(os.cpu_count())],
                   check=True, stdout=sys.stderr)
    return next(path for path in pathlib.Path(where).rglob("dense_opennn") if path.is_file())


def write_table(path, rows):
    rng = random.Random(1)
    with open(path, "w") as file:
        for _ in range(rows):
            file.write(",".join(f"{rng.gauss(0, 1):.6f}" for _ in range(28)) + f",{rng.randint(0, 1)}\n")


def milliseconds(output):
    """Of a step, from what the program prints: the median epoch has STEPS of them."""
    found = re.search(rf"^batch_{BATCH}_samples_per_sec=\S+ median_epoch_s=(\S+)", output, re.MULTILINE)
    if not found:
        sys.exit(f"compare: OpenNN's benchmark printed no median_epoch_s:\n{output}")
    return float(found[1]) / STEPS * 1e3


def measure(given, folder, threads):
    """[{"threads", "opennn_ms"}], one for each number of threads."""
    program = build(sources(given, folder), folder)
    train, test = f"{folder}/opennn.train.csv", f"{folder}/opennn.test.csv"
    write_table(train, BATCH * STEPS)
    write_table(test, BATCH)
    results = []
    for count in threads:
        done = subprocess.run([program, "train", train, test, str(EPOCHS), str(BATCH), "300", "5", "relu", "cpu", "fp32"], check=True,
                              stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": str(count)})
        results.append({"threads": count, "opennn_ms": round(milliseconds(done.stdout), 4)})
    return results
