#!/usr/bin/env python3
"""Trains the network of examples/gpt_train in PyTorch, from the same weights on the same windows: gpt_text.py <run folder>.
Writes pytorch.json with its bits per token of the text held out."""

import json
import math
import pathlib
import sys
import time

import torch

from tensors import read_safetensors
from workloads import Gpt, token_loss

folder = pathlib.Path(sys.argv[1])
settings = json.loads((folder / "pytorch_settings.json").read_text())
context = settings["context"]
torch.set_num_threads(settings["threads"])
order = read_safetensors(folder / "order.safetensors")
tokens = torch.frombuffer(bytearray((folder / "tokens.bin").read_bytes())[32:], dtype=torch.uint16).long()
model = Gpt(settings["vocabulary"], context, settings["layers"], settings["heads"], settings["width"])
model.load_state_dict(read_safetensors(folder / "start.safetensors"))
adam = torch.optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=1e-2)


def windows(starts):
    rows = torch.stack([tokens[i : i + context + 1] for i in starts.tolist()])
    return rows[:, :-1], rows[:, 1:]


began = time.perf_counter()
for step, (starts, factor) in enumerate(zip(order["starts"], order["factors"].tolist()), 1):
    for group in adam.param_groups:
        group["lr"] = settings["lr"] * factor
    ids, following = windows(starts)
    loss = token_loss(model(ids), following)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    adam.zero_grad()
    if step % 100 == 0:
        print(f"step {step}/{len(order['starts'])}  bits per token {loss.item() / math.log(2):.3f}", flush=True)
seconds = time.perf_counter() - began

total = 0.0
with torch.inference_mode():
    for part in order["held_out"].split(32):
        ids, following = windows(part)
        total += token_loss(model(ids), following).item() * len(part)
bits = total / len(order["held_out"]) / math.log(2)
(folder / "pytorch.json").write_text(json.dumps({"bits_per_token": bits, "seconds": seconds}) + "\n")
print(f"{seconds:.0f} s")
