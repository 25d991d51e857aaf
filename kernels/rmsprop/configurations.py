"""Block sizes: those of `adam_`, which is bound by the same memory."""

from fastk.kernels.adam.configurations import SHIPPED, StepConfiguration, choose_configuration

__all__ = ["SHIPPED", "StepConfiguration", "choose_configuration"]
