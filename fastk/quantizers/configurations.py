"""Settings of quantization as Keras's files and scripts hold them; fastk's layers cannot be quantized by them."""

from __future__ import annotations

from typing import Any


class GPTQConfig:
    """The settings of GPTQ, post-training quantization of one layer after the other by second-order information.

    `model.quantize(config=...)` raises in fastk; the settings are checked, kept, and written to files.

    Args:
        dataset: texts to calibrate with; not written to files.
        tokenizer: what makes numbers of them; not written to files.
        weight_bits: 2, 3, 4 or 8.
        num_samples: how many texts are used.
        per_channel: whether each channel has a scale.
        sequence_length: tokens of a text.
        hessian_damping: from 0 to 1: what is added to the diagonal of the Hessian, as a share of its mean.
        group_size: weights that share a scale; -1 for all.
        symmetric: whether the range lies around 0.
        activation_order: whether the columns with the greatest activations come first.
        quantization_layer_structure: which layers are quantized, block by block.

    Raises:
        ValueError: a number out of its range.

    Source: Frantar et al., 2022, https://arxiv.org/abs/2210.17323.

    >>> GPTQConfig(None, None, weight_bits=8).dtype_policy_string()
    'gptq/8/128'
    """

    mode = "gptq"

    def __init__(
        self,
        dataset: Any,
        tokenizer: Any,
        *,
        weight_bits: int = 4,
        num_samples: int = 128,
        per_channel: bool = True,
        sequence_length: int = 512,
        hessian_damping: float = 0.01,
        group_size: int = 128,
        symmetric: bool = False,
        activation_order: bool = False,
        quantization_layer_structure: dict | None = None,
    ):
        if weight_bits not in (2, 3, 4, 8):
            raise ValueError(f"Unsupported weight_bits {weight_bits}. Supported values are 2, 3, 4, and 8.")
        for name, value in (("num_samples", num_samples), ("sequence_length", sequence_length)):
            if value <= 0:
                raise ValueError(f"{name} must be a positive integer. Received: {value}.")
        if not 0 <= hessian_damping <= 1:
            raise ValueError(f"hessian_damping must be between 0 and 1. Received: {hessian_damping}.")
        if group_size < -1 or group_size == 0:
            raise ValueError(
                "Invalid group_size. Supported values are -1 (whole-tensor) or a positive integer, but got "
                f"{group_size}."
            )
        self.dataset, self.tokenizer = dataset, tokenizer
        self.weight_bits, self.group_size = weight_bits, group_size
        self.num_samples, self.sequence_length = num_samples, sequence_length
        self.per_channel, self.symmetric = per_channel, symmetric
        self.hessian_damping, self.activation_order = hessian_damping, activation_order
        self.quantization_layer_structure = quantization_layer_structure

    def dtype_policy_string(self) -> str:
        """The mode of the policy of a layer that was quantized so."""
        return f"gptq/{self.weight_bits}/{self.group_size}"

    def get_config(self) -> dict[str, Any]:
        """The settings, without the data that calibrated them."""
        return {**vars(self), "dataset": None, "tokenizer": None}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GPTQConfig:
        """Settings from `get_config`'s result."""
        return cls(**config)
