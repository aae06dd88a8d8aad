#!/usr/bin/env python3
"""Runs the examples on tables as a user does: tables.py <breast_cancer> <auto_mpg> <scratch folder>, from the root of the
sources."""

import json
import pathlib
import shutil
import subprocess
import sys

BREAST_CANCER, AUTO_MPG = sys.argv[1:3]


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def check(condition, what, result):
    if not condition:
        sys.exit(f"tables: {what}\nexit code {result.returncode}\n{result.stdout}\n{result.stderr}")


def learns(program, out, *names):
    """A short run leaves a summary with these names."""
    result = run(program, "--quick", "--out", str(out))
    check(result.returncode == 0, "a quick run failed", result)
    summary = json.loads((out / "summary.json").read_text())
    wanted = {"data", "samples", "test_samples", *names}
    check(wanted == summary.keys(), f"summary.json has {sorted(summary)}, not {sorted(wanted)}", result)
    return result, summary


def complains(program, scratch):
    """Says what is wrong with its arguments and its file."""
    result = run(program, "--colour")
    check(result.returncode == 2 and "usage:" in result.stderr, "unknown option", result)
    result = run(program, "--help")
    check(result.returncode == 0 and "--quick" in result.stdout, "help", result)
    result = run(program, "--data", str(scratch / "none.csv"), "--out", str(scratch / "none"))
    check(result.returncode == 1 and "cannot open" in result.stderr, "a missing file is not named", result)
    broken = scratch / "broken.csv"
    broken.write_text("a,b\n1,2\n3\n")
    result = run(program, "--data", str(broken), "--out", str(scratch / "none"))
    check(result.returncode == 1 and "broken.csv: line 3: 1 field, but there are 2 columns" in result.stderr,
          "a broken file is not explained", result)


def main():
    scratch = pathlib.Path(sys.argv[3])
    shutil.rmtree(scratch, ignore_errors=True)
    names = ["splits", "test_accuracy", "standard_deviation", "baseline_accuracy", "malignant_recall"]
    result, summary = learns(BREAST_CANCER, scratch / "tumours", *names)
    check(summary["test_accuracy"] > summary["baseline_accuracy"] + 0.2, f"it learned nothing: {summary}", result)
    check(f"test accuracy {100 * summary['test_accuracy']:.1f} %" in result.stdout, "printed and saved differ", result)
    _, again = learns(BREAST_CANCER, scratch / "again", *names)
    check(summary == again, "the same seed gave another result", result)

    result, summary = learns(AUTO_MPG, scratch / "cars", "test_rmse", "baseline_rmse", "validation_rmse", "epochs")
    check(summary["test_rmse"] < 0.6 * summary["baseline_rmse"], f"it learned nothing: {summary}", result)
    check(f"test error {summary['test_rmse']:.2f} miles" in result.stdout, "printed and saved differ", result)
    check((scratch / "cars" / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), "no PNG", result)

    for program in (BREAST_CANCER, AUTO_MPG):
        complains(program, scratch)


if __name__ == "__main__":
    main()
