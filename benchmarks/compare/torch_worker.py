"""The PyTorch side of the comparison: same protocol as gradus_worker.cpp, same weights, same batches."""

import json
import sys
import time

import torch

from tensors import read_safetensors
from workloads import WORKLOADS


def training_step(workload, stem, compiled):
    make, _, loss_of, _ = WORKLOADS[workload]
    batches = read_safetensors(stem + ".batches.safetensors")
    pairs = [(batches[f"x{i}"], batches[f"y{i}"]) for i in range(len(batches) // 2)]
    if loss_of is None:
        a, b = (t.requires_grad_() for t in pairs[0])

        def add(_):
            y = (a + b).sum()
            y.backward()
            a.grad = b.grad = None
            return y.item()

        return add
    model = make()
    model.load_state_dict(read_safetensors(stem + ".weights.safetensors"))
    if loss_of == "decode":
        return decoding_step(model, pairs[0][0])
    if compiled:
        model = torch.compile(model)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-2)

    def step(number):
        x, y = pairs[number % len(pairs)]
        loss = loss_of(model(x), y)
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss.item()

    return step


def decoding_step(model, prompt):
    state = {}

    @torch.inference_mode()
    def step(number):
        if number % 120 == 0:
            state["caches"], state["ids"] = model.make_cache(), prompt
        logits = model(state["ids"], state["caches"])[0, -1]
        top = logits.max(0)
        state["ids"] = top.indices.reshape(1, 1)
        return top.values.item()

    return step


def main():
    workload, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    compiled = sys.argv[4:] == ["compiled"]
    torch.set_num_threads(threads)
    step = training_step(workload, f"{folder}/{workload}", compiled)
    done = 0
    for line in sys.stdin:
        times, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(step(done))
            times.append((time.perf_counter() - start) * 1e3)
            done += 1
        with open("/proc/self/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) // 1024
        print(json.dumps({"ms": times, "losses": losses, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
