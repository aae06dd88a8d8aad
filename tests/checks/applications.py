#!/usr/bin/env python3
"""Runs the larger examples as a user does, with --quick: applications.py <gpt_train> <retail_forecast>
<transfer_image> <finetune_text> <scratch folder>, from the root of the sources."""

import json
import pathlib
import shutil
import subprocess
import sys

GPT_TRAIN, RETAIL_FORECAST, TRANSFER_IMAGE, FINETUNE_TEXT = sys.argv[1:5]


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
    weights = pathlib.Path("model") / "model.safetensors"
    same = (scratch / "gpt" / weights).read_bytes() == (scratch / "again" / weights).read_bytes()
    check(same, "the same seed gave another network", again)
    (scratch / "umlauts.txt").write_text("äöüß世界 " * 1000)
    result = run(GPT_TRAIN, "--quick", "--steps", 2, "--text", scratch / "umlauts.txt", "--out", scratch / "umlauts")
    check(result.returncode == 0, "a network that writes broken UTF-8", result)
    result = run(GPT_TRAIN, "--quick", "--text", scratch / "none", "--out", scratch / "none_out")
    check(result.returncode == 1 and "cannot open" in result.stderr, "a missing text is not named", result)
    (scratch / "short.txt").write_text("short")
    result = run(GPT_TRAIN, "--quick", "--text", scratch / "short.txt", "--out", scratch / "none_out")
    check(result.returncode == 1 and "too few" in result.stderr, "a short text is not explained", result)


def gpt_goes_on(scratch):
    """From the folders that it leaves: tokens, adapters, the whole network."""
    text = scratch / "text.txt"
    best = 8
    for name, arguments in [("tokens", ["--tokens", "bpe", "--vocabulary", 300]),
                            ("adapted", ["--init", scratch / "tokens" / "model", "--lora", 4]),
                            ("whole", ["--init", scratch / "adapted" / "model"])]:
        result = run(GPT_TRAIN, "--quick", "--text", text, "--out", scratch / name, "--prompt", "To be", *arguments)
        check(result.returncode == 0, f"a quick run failed: {name}", result)
        bits = json.loads((scratch / name / "summary.json").read_text())["bits_per_byte"]
        check(bits < best, f"{name}: {bits} bits per byte, {best} before", result)
        best = bits
    check((scratch / "adapted" / "adapter" / "adapter_config.json").exists(), "no adapter", result)
    result = run(GPT_TRAIN, "--quick", "--text", text, "--out", scratch / "bytes", "--init", scratch / "gpt" / "model")
    check(result.returncode == 0, "a network of bytes does not go on", result)
    result = run(GPT_TRAIN, "--quick", "--init", "tests/data_files/pretrained/bert", "--text", text, "--out", scratch / "none")
    check(result.returncode == 1 and "tokenizer.json" in result.stderr, "a folder without a tokenizer", result)
    result = run(GPT_TRAIN, "--quick", "--lora", 4, "--text", text)
    check(result.returncode == 2 and "--init" in result.stderr, "adapters of a new network", result)


def finetune(scratch):
    complains(FINETUNE_TEXT)
    result = run(FINETUNE_TEXT, "--quick", "--out", scratch / "finetune")
    check(result.returncode == 0, "a quick run failed", result)
    accuracy = json.loads((scratch / "finetune" / "summary.json").read_text())["accuracy"]
    check(accuracy["full"] > 0.8 and accuracy["TF-IDF, logistic regression"] > 0.9, f"it learned nothing: {accuracy}", result)
    check({"LoRA", "from scratch"} <= accuracy.keys(), f"ways are missing: {accuracy}", result)
    check((scratch / "finetune" / "report.html").read_text().startswith("<!DOCTYPE html>"), "no report", result)
    check((scratch / "finetune" / "adapter" / "adapter_model.safetensors").exists(), "no adapter", result)
    result = run(FINETUNE_TEXT, "--reviews", scratch / "none.csv", "--out", scratch / "none")
    check(result.returncode == 1 and "none.csv" in result.stderr, "a missing file is not named", result)


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
    scratch = pathlib.Path(sys.argv[5])
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    gpt(scratch)
    gpt_goes_on(scratch)
    retail(scratch)
    transfer(scratch)
    finetune(scratch)


if __name__ == "__main__":
    main()
