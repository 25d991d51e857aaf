"""Average pooling by torch's own kernel on channels-last views."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fastk.kernels.max_pool2d.aten import one_sided
from fastk.kernels.window import Padding, Pair


def average_pool2d(x: Tensor, window: Pair, strides: Pair, padding: Padding) -> Tensor:
    """The mean of each window of x [B, H, W, C], padding not counted."""
    pads, ceil_mode, skip = one_sided(strides, padding)
    y = F.avg_pool2d(x.permute(0, 3, 1, 2), window, strides, pads, ceil_mode, count_include_pad=False)
    y = y.permute(0, 2, 3, 1)
    return y[:, skip[0] :, skip[1] :] if any(skip) else y
