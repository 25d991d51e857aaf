"""`keras.ops`' core: conversion, parts of tensors, control flow."""

from fastk.ops.core import control_flow, tensors
from fastk.ops.core.control_flow import *  # noqa: F403
from fastk.ops.core.tensors import *  # noqa: F403

__all__: list[str] = []
__all__ += control_flow.__all__
__all__ += tensors.__all__
