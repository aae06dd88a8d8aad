"""Writes embeddings.safetensors: what PyTorch makes of sentences.txt with the weights of all-MiniLM-L6-v2.

Needs: torch, transformers and safetensors, and the folder that `./run finetune` fetches:
python make.py ../../data/minilm-weights
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModel.from_pretrained(sys.argv[1]).eval()
rows = []
with open("sentences.txt", encoding="utf-8") as lines:
    for line in lines:
        read = tokenizer(line.rstrip("\n"), return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**read).last_hidden_state.mean(1))
save_file({"embeddings": torch.cat(rows).contiguous()}, "embeddings.safetensors")
