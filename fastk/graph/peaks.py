"""The published peaks of GPUs, from which the least time of an op follows (the roofline, Williams et al. 2009).

Sources: NVIDIA's data sheets "A100 Tensor Core GPU" (2021), "H100 Tensor Core GPU" (2023) and "H200 Tensor Core GPU"
(2024); dense products, without sparsity. What a machine reaches is less: about 80 % of the FLOPs, 90 % of the
bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastk import config


@dataclass(frozen=True)
class Peak:
    """TFLOP/s of 16-bit, TF32 and float32 products, and TB/s of memory."""

    name: str
    half: float
    tf32: float
    float32: float
    memory: float

    def seconds(self, flops: int, bytes_moved: int, dtype: str) -> float:
        """The least time for so many FLOPs in products of `dtype` and bytes."""
        return max(flops / (self._products(dtype) * 1e12), bytes_moved / (self.memory * 1e12))

    def _products(self, dtype: str) -> float:
        if dtype in ("float16", "bfloat16"):
            return self.half
        return {"tf32": self.tf32, "tf32x3": self.tf32 / 3, "ieee": self.float32}[config.float32_precision()]


# The first whose name is in that of the device.
PEAKS = (
    Peak("H200", 989.0, 495.0, 67.0, 4.8),
    Peak("H100 PCIe", 756.0, 378.0, 51.0, 2.0),
    Peak("H100 NVL", 835.0, 418.0, 60.0, 3.9),
    Peak("H100", 989.0, 495.0, 67.0, 3.35),
    Peak("A100-SXM4-80GB", 312.0, 156.0, 19.5, 2.039),
    Peak("A100 80GB PCIe", 312.0, 156.0, 19.5, 1.935),
    Peak("A100", 312.0, 156.0, 19.5, 1.555),
)


def peak_of(device_name: str) -> Peak | None:
    """The peaks of a device, None where they are not in the table.

    >>> from fastk.graph.peaks import peak_of
    >>> peak_of("NVIDIA H200").memory, peak_of("a CPU")
    (4.8, None)
    """
    return next((peak for peak in PEAKS if peak.name in device_name), None)
