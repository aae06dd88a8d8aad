"""The PyTorch side of the comparison: same protocol as gradus_worker.cpp, same weights, same batches."""

import json
import sys
import time

import torch

from tensors import read_safetensors
from workloads import lookup


def training_step(workload, stem, precision, compiled):
    """precision: float, double, bf16, which is float weights under autocast, or bf16_model, whose weights are bf16, too, as
    Gradus's, with their exact values in the optimizer."""
    dtype = {"double": torch.float64, "bf16_model": torch.bfloat16}.get(precision, torch.float32)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    wide = torch.float64 if precision == "double" else torch.float32  # of the loss

    def real(tensor, dtype):
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    make, _, loss_of, _ = lookup(workload)
    batches = read_safetensors(stem + ".batches.safetensors")
    pairs = [(real(batches[f"x{i}"], dtype), real(batches[f"y{i}"], wide)) for i in range(len(batches) // 2)]
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
    model.to(dtype)
    if loss_of == "decode":
        return decoding_step(model, pairs[0][0], autocast)
    if compiled:
        model = torch.compile(model)
    weights = list(model.parameters())
    exact = [weight.detach().float().requires_grad_() for weight in weights] if precision == "bf16_model" else weights
    adam = torch.optim.AdamW(exact, lr=1e-4, weight_decay=1e-2)

    @torch.no_grad()
    def update():
        if exact is not weights:
            for weight, value in zip(weights, exact):
                value.grad, weight.grad = weight.grad.float(), None
        adam.step()
        if exact is not weights:
            for weight, value in zip(weights, exact):
                weight.copy_(value)
        adam.zero_grad()

    def step(number):
        x, y = pairs[number % len(pairs)]
        with autocast:
            output = model(x)
        loss = loss_of(output.to(wide), y)
        loss.backward()
        update()
        return loss.item()

    return step


def decoding_step(model, prompt, autocast):
    state = {}

    @torch.inference_mode()
    def step(number):
        if number % 120 == 0:
            state["caches"], state["ids"] = model.make_cache(), prompt
        with autocast:
            logits = model(state["ids"], state["caches"])[0, -1]
        top = logits.max(0)
        state["ids"] = top.indices.reshape(1, 1)
        return top.values.item()

    return step


def status_kb(name):
    """A line of Linux's account of this process, see gradus_worker.cpp."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


def main():
    workload, threads, folder, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(threads)
    held_before = status_kb("VmRSS")
    step = training_step(workload, f"{folder}/{workload}", precision, "compiled" in sys.argv[5:])
    done = 0
    for line in sys.stdin:
        times, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(step(done))
            times.append((time.perf_counter() - start) * 1e3)
            done += 1
        memory = {"peak_kb": status_kb("VmHWM"), "before_kb": held_before}
        print(json.dumps({"ms": times, "losses": losses} | memory), flush=True)


if __name__ == "__main__":
    main()
