"""How much memory has a GPU, by what the cluster calls it?"""

import re

from fino1.spec.placement import GpuBlock

# Value of the node label nvidia.com/gpu.product → MiB as nvidia-smi gives them; the label nvidia.com/gpu.memory knows better.
GPU_MIB = {
    "NVIDIA-A10": 23028,
    "NVIDIA-A10G": 23028,
    "NVIDIA-A100-PCIE-40GB": 40960,
    "NVIDIA-A100-SXM4-40GB": 40960,
    "NVIDIA-A100-80GB-PCIe": 81920,
    "NVIDIA-A100-SXM4-80GB": 81920,
    "NVIDIA-A40": 46068,
    "NVIDIA-B200": 183359,
    "NVIDIA-H100-80GB-HBM3": 81559,
    "NVIDIA-H100-NVL": 95830,
    "NVIDIA-H100-PCIe": 81559,
    "NVIDIA-H200": 143771,
    "NVIDIA-H200-NVL": 143771,
    "NVIDIA-L4": 23034,
    "NVIDIA-L40": 46068,
    "NVIDIA-L40S": 46068,
    "Tesla-T4": 15360,
    "Tesla-V100-SXM2-16GB": 16160,
    "Tesla-V100-SXM2-32GB": 32510,
}
_MIG = re.compile(r"mig-\d+g\.(\d+)gb", re.IGNORECASE)


def gpu_memory(gpu: GpuBlock) -> int | None:
    """How many bytes has the GPU that a run asks for? A MIG slice has about 0.95 of its name's; None where it is not known."""
    slice_ = _MIG.search(gpu.resource) or _MIG.search(gpu.product or "")
    if slice_:
        return int(slice_[1]) * 2**30 * 95 // 100
    mib = GPU_MIB.get((gpu.product or "").removesuffix("-SHARED"))
    return mib * 2**20 if mib else None
