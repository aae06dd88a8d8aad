"""Makes the files in this folder with the format's own Python package.

Needs: torch and safetensors 0.4 or newer. Run in this folder: python make.py
"""

import torch
from safetensors.torch import save_file

# What Gradus writes, too: the test compares whole files.
save_file(
    {
        "f32": torch.tensor([[1.5, -2.0, 3.25], [0.0, float("inf"), -0.5]]),
        "f64": torch.tensor([0.1, -1e300], dtype=torch.float64),
        "bf16": torch.tensor([1.0, -2.5, 0.1], dtype=torch.bfloat16),
        "f16": torch.tensor([1.0, -2.5, 0.1, 1e-7]).half(),
        "i64": torch.tensor([[2**62], [-5]]),
        "i32": torch.tensor([7, -8], dtype=torch.int32),
        "u8": torch.tensor([0, 128, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(42.0),
        "empty": torch.zeros(0, 4),
    },
    "gradus_types.safetensors",
    metadata={"made by": "safetensors é"},
)

# What Gradus only reads, and special values of half precision.
save_file(
    {
        # one, largest, smallest normal, smallest subnormal, a subnormal, minus zero, infinity
        "f16": torch.tensor([1.0, 65504.0, 2.0**-14, 2.0**-24, -3 * 2.0**-20, -0.0, float("-inf"), float("nan")]).half(),
        "i16": torch.tensor([-32768, 32767], dtype=torch.int16),
        "i8": torch.tensor([-128, 127], dtype=torch.int8),
        "u16": torch.tensor([0, 65535], dtype=torch.uint16),
        "u32": torch.tensor([0, 2**32 - 1], dtype=torch.uint32),
        "u64": torch.tensor([0, 2**64 - 1], dtype=torch.uint64),
    },
    "other_types.safetensors",
)
