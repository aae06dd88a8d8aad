"""The two sides of a comparison as processes that wait for a number of steps, and what they are fed."""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tensors import write_safetensors
from workloads import lookup

HERE = os.path.dirname(os.path.abspath(__file__))


def write_inputs(workload, folder, batch=None):
    """Weights and four batches as files. `batch` is another maker of batches than the workload's."""
    make, batch_of_workload, _, _ = lookup(workload)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    write_safetensors(f"{folder}/{workload}.weights.safetensors", make().state_dict())
    tensors = {}
    for i in range(4):
        tensors[f"x{i}"], tensors[f"y{i}"] = (batch or batch_of_workload)(generator)
    write_safetensors(f"{folder}/{workload}.batches.safetensors", tensors)


def convolution_backward_flop(dy, x, weight, _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted,
                              out_shape=None, **_):
    """PyTorch's own count is wrong with groups. Each gradient costs what the forward pass did."""
    places = math.prod((x if transposed else dy)[2:]) * dy[0]
    return 2 * places * math.prod(weight) * sum(wanted[:2])


def flop_of_step(workload, batch=None):
    """Arithmetic of the matrix products and convolutions of a step, forward and backward: a multiply-add is two, and
    attention counts as if no mask left out half of it. None for what trains no network."""
    make, batch_of_workload, loss_of, _ = lookup(workload)
    if loss_of in (None, "decode"):
        return None
    x, y = (batch or batch_of_workload)(torch.Generator().manual_seed(2))
    # In double nothing is handed to a library whole, so that the products inside an LSTM or attention are seen.
    model = make().double()
    wide = lambda tensor: tensor.double() if tensor.is_floating_point() else tensor
    own = {torch.ops.aten.convolution_backward: convolution_backward_flop}
    with FlopCounterMode(display=False, custom_mapping=own) as counter, sdpa_kernel(SDPBackend.MATH):
        loss_of(model(wide(x)), wide(y)).backward()
    return counter.get_total_flops()


class Worker:
    """A process that is asked for steps. `first_step_s`: from its start until one step was done."""

    def __init__(self, command, environment=None):
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.first = self.run(1)
        self.first_step_s = time.perf_counter() - began

    def run(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare: {self.process.args} ended with {self.process.wait()}")
        return json.loads(re.sub(r"-?\bnan\b", "NaN", line).replace("inf", "Infinity"))  # as C++ writes them

    def first_losses(self, count):
        """Right after the start."""
        return self.first["losses"] + (self.run(count - 1)["losses"] if count > 1 else [])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start(side, workload, threads, folder, precision, program):
    """side: gradus, pytorch or compiled; the last starts with empty caches of kernels."""
    arguments = [workload, str(threads), folder, precision]
    if side == "gradus":
        return Worker([program] + arguments)
    command = [sys.executable, "-B", f"{HERE}/torch_worker.py"] + arguments
    if side == "pytorch":
        return Worker(command)
    with tempfile.TemporaryDirectory() as caches:
        names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
        return Worker(command + ["compiled"], os.environ | {name: f"{caches}/{name}" for name in names})


def peaks_of(program, threads):
    """What the machine reaches, as gradus_compare measures it: operations a second in float and bf16, bytes a second."""
    return json.loads(subprocess.run([program, "peak", str(threads)], check=True, capture_output=True, text=True).stdout)
