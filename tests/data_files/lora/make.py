"""Makes a network, adapters of it by Hugging Face's PEFT, and what both compute.

Needs: torch, safetensors and peft. Run in this folder: python make.py
"""

import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)
        self.head = torch.nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


torch.manual_seed(0)
net, x = Net(), torch.randn(6, 5)
save_file(net.state_dict(), "base.safetensors")
before = net(x).detach()
model = get_peft_model(net, LoraConfig(r=2, lora_alpha=6, target_modules=["first", "second"]))
for name, parameter in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(parameter)
model.save_pretrained(".")
save_file({"x": x, "before": before, "after": model(x).detach()}, "expected.safetensors")
pathlib.Path("README.md").unlink(missing_ok=True)
