#!/usr/bin/env python3
"""Runs the demo as a user does: demo.py <fashion_mnist> <run_report> <scratch folder>, from the root of the sources."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys


def run(*arguments):
    return subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def check(condition, what, result):
    if not condition:
        sys.exit(f"demo: {what}\nexit code {result.returncode}\n{result.stdout}\n{result.stderr}")


def check_metrics(out, summary, result):
    """Both logs of the metrics hold one record an epoch, the same numbers, and end with the final accuracy."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    check([record["epoch"] for record in records] == list(range(1, summary["epochs"] + 1)), "metrics.jsonl", result)
    check(records[-1]["test_accuracy"] == summary["test_accuracy"], f"metrics.jsonl ends with {records[-1]}", result)
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    same = [{name: float(value) for name, value in row.items()} for row in rows] == records
    check(same, f"metrics.csv and metrics.jsonl differ: {rows}", result)


def check_report(out):
    """The report has all parts, and needs nothing from elsewhere."""
    html = (out / "report.html").read_text()
    parts = ["<svg", "data:image/png;base64,", "<h2>Confusion matrix</h2>", "test accuracy", "Conv2d"]
    missing = [part for part in parts if part not in html]
    if missing or "http:" in html or "https:" in html or "<script" in html:
        sys.exit(f"demo: report.html lacks {missing}, or reaches out of itself")


def learns(out, *arguments):
    """A short run leaves weights, metrics, a picture and a summary that agree with what it printed."""
    result = run("--quick", "--out", str(out), *arguments)
    check(result.returncode == 0, "a quick run failed", result)
    summary = json.loads((out / "summary.json").read_text())
    names = {"test_accuracy", "reloaded_accuracy", "epochs", "train_seconds", "images_per_second", "seed", "threads"}
    check(names <= summary.keys(), f"summary.json lacks {names - summary.keys()}", result)
    check(summary["test_accuracy"] == summary["reloaded_accuracy"], "the loaded weights differ", result)
    check(summary["test_accuracy"] > 0.4, f"it learned nothing: {summary}", result)
    check(f"test accuracy {100 * summary['test_accuracy']:.2f} %" in result.stdout, "printed and saved differ", result)
    check_metrics(out, summary, result)
    check((out / "predictions.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), "no PNG", result)
    check((out / "weights.safetensors").stat().st_size > 1_600_000, "no weights", result)
    return result, summary


def main():
    scratch = pathlib.Path(sys.argv[3])
    shutil.rmtree(scratch, ignore_errors=True)
    learns(scratch / "found", "--report", sys.argv[2])
    check_report(scratch / "found")

    empty = scratch / "empty"  # Fashion-MNIST is not here: an error, where the user named the folder
    empty.mkdir(parents=True)
    result = run("--quick", "--data", str(empty), "--out", str(scratch / "none"))
    check(result.returncode == 1 and "there is neither" in result.stderr, "an empty data folder is not named", result)

    result = run("--quick", "--out", "/dev/null/runs")
    check(result.returncode == 1 and "cannot create /dev/null/runs" in result.stderr, "no word of the folder", result)
    result = run("--epochs", "many")
    check(result.returncode == 1 and "--epochs many: must be a number from 1" in result.stderr, "bad number", result)
    result = run("--small", "--quick", "--out", str(scratch / "found"), "--report", "/no/such/program")
    check(result.returncode == 1 and "cannot run /no/such/program" in result.stderr, "no word of the report", result)
    result = run("--colour")
    check(result.returncode == 2 and "usage:" in result.stderr, "unknown option", result)
    result = run("--help")
    check(result.returncode == 0 and "--batch-size" in result.stdout, "help", result)

    _, first = learns(scratch / "digits", "--small")
    _, second = learns(scratch / "again", "--small")
    check(first["data"] == "UCI handwritten digits", "--small takes the other set", result)
    check(first["test_accuracy"] == second["test_accuracy"], "the same seed gave another result", result)


if __name__ == "__main__":
    main()
