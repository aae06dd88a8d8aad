#!/usr/bin/env python3
"""Compares text::Tokenizer with the Python package tokenizers on real vocabularies: ids and texts, and speed.

    compare_tokenizers.py <gradus_tokenize> <folder> [--texts 20000] [--seed 0] [name=tokenizer.json ...]

The folder holds what `./run compare tokenizers` fetches: vocabularies as <name>/tokenizer.json, and shakespeare/*.txt for speed.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, as ours
from tokenizers import Tokenizer

WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we there
can an your which their said if do will each about how up out them then she many some so these would other into has more""".split()
MARKS = ["[MASK]", "<|endoftext|>", "</s>", "<0x41>", "'s", "'LL", "##ing", "<|en|>", " [SEP] ", "<<ST_5>>", "\u2581", "\u0120"]
BLOCKS = [(0x20, 0x7E, 8), (0, 0x1F, 1), (0xA0, 0x24F, 2), (0x300, 0x36F, 1), (0x370, 0x52F, 1), (0x590, 0x6FF, 1), (0x900, 0xDFF, 1),
          (0xE00, 0xE7F, 1), (0x1100, 0x11FF, 1), (0x2000, 0x206F, 1), (0x2070, 0x2BFF, 1), (0x3000, 0x30FF, 1), (0x4E00, 0x9FFF, 1),
          (0xAC00, 0xD7A3, 1), (0xF900, 0xFFFF, 1), (0x1F300, 0x1FAFF, 1), (0x1D400, 0x1D7FF, 1), (0x20000, 0x2FFFF, 1)]


def random_text(rng):
    text = ""
    for _ in range(rng.randint(1, 30)):
        kind = rng.random()
        if kind < 0.5:
            text += rng.choice(WORDS) + rng.choice([" ", " ", "  ", ", ", ". ", "\n", "-", "'", "\t"])
        elif kind < 0.6:
            text += str(rng.randint(0, 10 ** rng.randint(1, 9)))
        elif kind < 0.65:
            text += rng.choice(MARKS)
        else:
            low, high, _ = rng.choices(BLOCKS, [weight for _, _, weight in BLOCKS])[0]
            text += chr(rng.randint(low, high))
    return text


def make_texts(count, seed):
    """A tenth of them broken UTF-8."""
    rng = random.Random(seed)
    texts = [random_text(rng).replace("\0", "\1").encode() for _ in range(count)]
    for text in rng.sample(texts, count // 10):
        broken = bytearray(text)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(1, 256)
        texts.append(bytes(broken))
    return texts


def read(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def compare(name, path, program, folder, texts, long_text):
    (folder / "texts").write_bytes(b"".join(text + b"\0" for text in texts))
    subprocess.run([program, path, folder / "texts", folder / "ids"], check=True)
    peer, wrong = read(path), 0
    for raw, line in zip(texts, (folder / "ids").read_text(encoding="utf-8").split("\n")):
        got, text = json.loads(line), raw.decode(errors="replace")
        ids = peer.encode(text).ids
        if got["ids"] != ids or got["text"] != peer.decode(ids):
            wrong += 1
            if wrong <= 3:
                print(f"{name}: differs on {text!r}\n  {got}\n  {ids}", file=sys.stderr)
    line = f"{name:12} {len(texts)} texts, {wrong} differ"
    if long_text:
        (folder / "long").write_text(long_text)
        passes = subprocess.run([program, path, folder / "long"], check=True, capture_output=True, text=True).stdout.split("\n")
        ours = min(float(row.split()[1]) for row in passes if row)
        theirs = []
        for _ in range(3):
            began = time.perf_counter()
            peer.encode(long_text)
            theirs.append(time.perf_counter() - began)
        size = len(long_text.encode()) / 1e6
        line += f"; {size / ours:.1f} MB/s, tokenizers {size / min(theirs):.1f} MB/s, ratio {min(theirs) / ours:.1f}"
    print(line, flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("more", nargs="*", help="other vocabularies, name=path")
    parser.add_argument("--texts", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_intermixed_args()
    texts = make_texts(options.texts, options.seed)
    long_text = "".join(path.read_text(errors="replace") for path in sorted(options.folder.glob("shakespeare/*.txt")))
    found = {path.parent.name: path for path in sorted(options.folder.glob("*/tokenizer.json"))}
    found |= {name: pathlib.Path(path) for name, _, path in (one.partition("=") for one in options.more)}
    if not found:
        sys.exit(f"compare_tokenizers: no {options.folder}/*/tokenizer.json")
    wrong = [compare(name, path, options.program, options.folder, texts, long_text) for name, path in found.items()]
    sys.exit(1 if any(wrong) else 0)


main()
