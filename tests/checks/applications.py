#!/usr/bin/env python3
"""Runs the larger examples as a user does, with --quick: applications.py <gpt_train> <retail_forecast>
<transfer_image> <scratch folder>, from the root of the sources."""

import json
import pathlib
import shutil
import subprocess
import sys

GPT_TRAIN, RETAIL_FORECAST, TRANSFER_IMAGE = sys.argv[1:4]


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def check(condition, what, result):
    if not condition:
        sys.exit(f"applications: {what}\nexit code {result.returncode}\n{result.stdout}\n{result.stderr}")


def complains(program):
    result = run(program, "--colour")
    check(result.returncode == 2 and "usage:" in result.stderr, "unknown option", result)
    result = run(program, "--help")
    check(result.returncode == 0 and "--quick" in result.stdout, "help", result)


def gpt(scratch):
    complains(GPT_TRAIN)
    text = scratch / "text.txt"
    text.write_text("To be, or not to be: that is the question. " * 400)
    result = run(GPT_TRAIN, "--quick", "--text", text, "--out", scratch / "gpt", "--prompt", "To be")
    check(result.returncode == 0, "a quick run failed", result)
    summary = json.loads((scratch / "gpt" / "summary.json").read_text())
    check(summary["bits_per_byte"] < 3, f"it learned nothing: {summary}", result)  # even 27 letters need 4.2
    check(summary["sample"].startswith("To be"), "the sample does not go on from the prompt", result)
    check((scratch / "gpt" / "report.html").read_text().startswith("<!DOCTYPE html>"), "no report", result)
    again = run(GPT_TRAIN, "--quick", "--text", text, "--out", scratch / "again", "--prompt", "To be")
    same = (scratch / "gpt" / "weights.safetensors").read_bytes() == (scratch / "again" / "weights.safetensors").read_bytes()
    check(same, "the same seed gave another network", again)
    result = run(GPT_TRAIN, "--quick", "--text", scratch / "none", "--out", scratch / "none_out")
    check(result.returncode == 1 and "cannot open" in result.stderr, "a missing text is not named", result)
    (scratch / "short.txt").write_text("short")
    result = run(GPT_TRAIN, "--quick", "--text", scratch / "short.txt", "--out", scratch / "none_out")
    check(result.returncode == 1 and "too few" in result.stderr, "a short text is not explained", result)


def retail(scratch):
    complains(RETAIL_FORECAST)
    result = run(RETAIL_FORECAST, "--quick", "--out", scratch / "retail")
    check(result.returncode == 0, "a quick run failed", result)
    summary = json.loads((scratch / "retail" / "summary.json").read_text())["retail"]["generated"]
    wanted = {"gain_over_seasonal_naive", "gain_over_best_baseline", "best_baseline", "gain_interval", "interval_coverage",
              "incremental"}
    check(wanted <= summary.keys(), f"summary.json lacks {wanted - summary.keys()}", result)
    check(summary["gain_over_seasonal_naive"] > 0, f"it learned nothing: {summary}", result)
    low, high = summary["gain_interval"]
    check(low < summary["gain_over_seasonal_naive"] < high, f"the gain is not in its interval: {summary}", result)
    check((scratch / "retail" / "report.html").read_text().startswith("<!DOCTYPE html>"), "no report", result)
    result = run(RETAIL_FORECAST, "--only", "real", "--data", scratch / "none.csv", "--out", scratch / "none")
    check(result.returncode == 1 and "cannot open" in result.stderr, "a missing file is not named", result)
    lines = ["Invoice,StockCode,Quantity,InvoiceDate,Price"]
    for day in range(400):  # two products of a shop of its own
        date = f"{1 + day // 28 % 12}/{1 + day % 28}/{2010 + day // 336} 10:00"
        lines += [f"{day},10001,{3 + day % 7},{date},1.5", f"{day},10002,{1 + day % 3},{date},2"]
    (scratch / "shop.csv").write_text("\n".join(lines) + "\n")
    result = run(RETAIL_FORECAST, "--quick", "--only", "real", "--data", scratch / "shop.csv", "--out", scratch / "shop")
    check(result.returncode == 0, "a shop's own file", result)
    result = run(RETAIL_FORECAST, "--layout", "excel", "--out", scratch / "none")
    check(result.returncode == 2 and "--layout must be" in result.stderr, "an unknown layout", result)
    lines = ["Store,Date,Sales,Open,Promo,StateHoliday,SchoolHoliday"]
    for day in range(400):
        date = f"{2014 + day // 336}-{1 + day // 28 % 12:02}-{1 + day % 28:02}"
        lines += [f"{store},{date},{100 * store + 10 * (day % 7)},1,{day // 7 % 2},0,0" for store in (1, 2)]
    (scratch / "train.csv").write_text("\n".join(lines) + "\n")
    (scratch / "store.csv").write_text("Store,StoreType\n1,a\n2,b\n")
    result = run(RETAIL_FORECAST, "--quick", "--only", "real", "--layout", "rossmann", "--data", scratch / "train.csv",
                 "--stores-file", scratch / "store.csv", "--out", scratch / "rossmann")
    check(result.returncode == 0, "files in Rossmann's layout", result)


def transfer(scratch):
    complains(TRANSFER_IMAGE)
    result = run(TRANSFER_IMAGE, "--quick", "--out", scratch / "transfer")
    check(result.returncode == 0, "a quick run failed", result)
    summary = json.loads((scratch / "transfer" / "summary.json").read_text())
    check(summary["accuracy"] > 0.25, f"it learned nothing: {summary}", result)
    check((scratch / "transfer" / "report.html").read_text().startswith("<!DOCTYPE html>"), "no report", result)
    data = scratch / "no_clothing"
    result = run(TRANSFER_IMAGE, "--data", data, "--out", scratch / "none")
    check(result.returncode == 1 and "no_clothing" in result.stderr, "a missing folder is not named", result)


def main():
    scratch = pathlib.Path(sys.argv[4])
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    gpt(scratch)
    retail(scratch)
    transfer(scratch)


if __name__ == "__main__":
    main()
