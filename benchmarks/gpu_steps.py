"""The steps of gpu_steps.cpp in PyTorch, eager: one line of a Markdown table a model."""

import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/compare")
import workloads  # noqa: E402


def time_model(name, model, steps, loss_of):
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4)
    rounds = []
    for number in range(6):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(steps):
            loss = loss_of(model)
            loss.backward()
            adam.step()
            adam.zero_grad()
        torch.cuda.synchronize()
        if number > 0:
            rounds.append(1e3 * (time.perf_counter() - begin) / steps)
    print(f"| {name} | {statistics.median(rounds):.3f} |", flush=True)


print("| step on cuda:0 | PyTorch " + torch.__version__ + " eager, ms |\n| --- | --- |")
labels = torch.randint(0, 10, (128,), device="cuda")
flat, images = torch.randn(128, 784, device="cuda"), torch.randn(128, 1, 28, 28, device="cuda")
mlp = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).cuda()
time_model("MLP 784-512-512-10, batch 128", mlp, 200, lambda model: F.cross_entropy(model(flat), labels))
time_model("LeNet, batch 128", workloads.LeNet().cuda(), 100, lambda model: F.cross_entropy(model(images), labels))
ids = torch.randint(0, 50257, (8, 1025), device="cuda")
gpt = workloads.Gpt(50304, 1024, 12, 12, 768).cuda().bfloat16()
time_model("GPT-2 124M in bf16, 8 x 1,024 tokens", gpt, 5,
           lambda model: workloads.token_loss(model(ids[:, :1024]), ids[:, 1:]))
