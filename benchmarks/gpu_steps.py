"""The steps of gpu_steps.cpp in PyTorch: one line of a Markdown table a model. gpu_steps.py [--compile] [--tf32]
[part of a name]."""

import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/compare")
import workloads  # noqa: E402

compiled = "--compile" in sys.argv
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "--tf32" in sys.argv
only = next((word for word in sys.argv[1:] if not word.startswith("--")), "")


def time_model(name, steps, make, loss_of):
    if only not in name:
        return
    torch.cuda.reset_peak_memory_stats()
    model = make()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=compiled)
    loss_of = torch.compile(loss_of) if compiled else loss_of
    rounds = []
    begin = first = None
    for number in range(7):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(1 if number == 0 else steps):
            loss = loss_of(model)
            loss.backward()
            adam.step()
            adam.zero_grad()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        if number == 0:
            first = seconds
        elif number > 1:
            rounds.append(1e3 * seconds / steps)
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"| {name} | {statistics.median(rounds):.3f} | {peak:.2f} | {first:.2f} |", flush=True)
    del model, adam
    torch.cuda.empty_cache()


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.output = nn.LSTM(512, 512, 2, batch_first=True), nn.Linear(512, 14)

    def forward(self, x):
        return self.output(self.lstm(x)[1][0][-1])


print(f"| step on {torch.cuda.get_device_name()} | PyTorch {torch.__version__} {'compiled' if compiled else 'eager'}, ms "
      "| peak, GB | first step, s |\n| --- | ---: | ---: | ---: |")
labels = torch.randint(0, 10, (256,), device="cuda")
flat, images = torch.randn(128, 784, device="cuda"), torch.randn(128, 1, 28, 28, device="cuda")
few = labels[:128].clone()
mlp = lambda: nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).cuda()
time_model("MLP 784-512-512-10, batch 128", 200, mlp, lambda model: F.cross_entropy(model(flat), few))
time_model("LeNet, batch 128", 100, lambda: workloads.LeNet().cuda(), lambda model: F.cross_entropy(model(images), few))
series, target = torch.randn(64, 90, 512, device="cuda"), torch.randn(64, 14, device="cuda")
time_model("LSTM 512 -> 2 x 512, 90 steps, batch 64", 20, lambda: Forecaster().cuda(),
           lambda model: F.mse_loss(model(series), target))
for batch in (8, 32, 64):
    ids = torch.randint(0, 50257, (batch, 1025), device="cuda")
    time_model(f"GPT-2 124M in bf16, {batch} x 1,024 tokens", 5,
               lambda: workloads.Gpt(50304, 1024, 12, 12, 768).cuda().bfloat16(),
               lambda model: workloads.token_loss(model(ids[:, :1024]), ids[:, 1:]))
photographs = torch.randn(256, 3, 224, 224, device="cuda").bfloat16().to(memory_format=torch.channels_last)
time_model("ResNet-50 in bf16, batch 256", 5,
           lambda: workloads.ResNet(64, (3, 4, 6, 3), True).cuda().bfloat16().to(memory_format=torch.channels_last),
           lambda model: F.cross_entropy(model(photographs), labels))
