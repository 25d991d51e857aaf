"""Meshes of devices, and how tensors lie on them: `DeviceMesh`, `TensorLayout`, `LayoutMap`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch

from fastk.device import get_device
from fastk.distribution import ranks


def _device_type(device_type: str | None) -> str:
    kind = get_device().type if device_type is None else device_type.lower()
    kind = "gpu" if kind == "cuda" else kind
    if kind not in ("cpu", "gpu", "tpu"):
        raise ValueError(f"`device_type` must be 'cpu', 'gpu' or 'tpu'. Received: {device_type!r}")
    return kind


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices that can train together, such as `["gpu:0", "gpu:1"]`.

    Each process has one device: under `torchrun` these are as many as processes, numbered by rank. In a program of one
    process they are the GPUs of this machine, or its CPU.

    Args:
        device_type: `"cpu"`, `"gpu"` or `"tpu"` (of which there are none); by default that of this process's device.

    >>> import fastk
    >>> fastk.distribution.list_devices("cpu")
    ['cpu:0']
    """
    kind = _device_type(device_type)
    count = ranks.process_count()
    if kind == "tpu" or (kind == "gpu" and not torch.cuda.is_available()):
        count = 0
    elif kind == "gpu" and count == 1:
        count = torch.cuda.device_count()
    return [f"{kind}:{i}" for i in range(count)]


def get_device_count(device_type: str | None = None) -> int:
    """How many devices `list_devices` lists.

    >>> import fastk
    >>> fastk.distribution.get_device_count("cpu")
    1
    """
    return len(list_devices(device_type))


class DeviceMesh:
    """Devices in a grid whose axes have names.

    Args:
        shape: the grid's shape, such as `(8,)`.
        axis_names: a name for each axis.
        devices: as many names of devices; by default those of `list_devices()`.

    >>> import fastk
    >>> fastk.distribution.DeviceMesh((2, 2), ["batch", "model"], [f"cpu:{i}" for i in range(4)])
    <DeviceMesh shape=(2, 2), axis_names=['batch', 'model']>
    """

    def __init__(self, shape: Sequence[int], axis_names: Sequence[str], devices: Any = None):
        if not shape or not axis_names:
            raise ValueError(f"Shape and axis_names cannot be empty. Received: shape={shape}, axis_names={axis_names}")
        if len(shape) != len(axis_names):
            raise ValueError(
                f"Shape and axis_names should have same size. Received: shape={shape}, axis_names={axis_names}"
            )
        devices = np.array(list_devices() if devices is None else devices)
        if math.prod(shape) != devices.size:
            raise ValueError(
                f"Shape does not match the number of devices. Received: shape={shape}; devices.shape={devices.shape}"
            )
        self._shape, self._axis_names = shape, axis_names
        self._devices = devices.reshape(shape)
        self._torch_mesh: Any = None

    @property
    def shape(self) -> Sequence[int]:
        """The grid's shape."""
        return self._shape

    @property
    def axis_names(self) -> Sequence[str]:
        """The name of each axis."""
        return self._axis_names

    @property
    def devices(self) -> np.ndarray:
        """The names of the devices, of the grid's shape."""
        return self._devices

    @property
    def backend_mesh(self) -> Any:
        """The same as a `torch.distributed.device_mesh.DeviceMesh`, made at the first call, which all processes make.

        Raises:
            ValueError: where there are not as many processes as devices.
        """
        if self._torch_mesh is None:
            check_processes(self)
            ranks.join_alone_or_with_others()
            from torch.distributed.device_mesh import init_device_mesh

            self._torch_mesh = init_device_mesh(
                get_device().type, tuple(self._shape), mesh_dim_names=tuple(self._axis_names)
            )
        return self._torch_mesh

    def __repr__(self) -> str:
        return f"<{type(self).__name__} shape={self.shape}, axis_names={self.axis_names}>"


def check_processes(mesh: DeviceMesh) -> None:
    """Raises `ValueError` unless there is a process for each device of the mesh."""
    processes, devices = ranks.process_count(), mesh.devices.size
    if processes != devices:
        raise ValueError(
            f"The mesh has {devices} device(s), but there are {processes} process(es): each process has one device. "
            f"Start the program by `torchrun --nproc-per-node={devices} train.py`, or use a mesh of {processes} "
            f"device(s). Received: {mesh} of {mesh.devices.flatten().tolist()}"
        )


class TensorLayout:
    """Along which axes of a mesh the axes of a tensor are cut.

    Args:
        axes: for each axis of the tensor the name of an axis of the mesh, or None where it is whole everywhere.
        device_mesh: the mesh; may be set later, once.

    >>> import fastk
    >>> mesh = fastk.distribution.DeviceMesh((2,), ["model"], ["cpu:0", "cpu:1"])
    >>> fastk.distribution.TensorLayout((None, "model"), mesh).axes
    (None, 'model')
    """

    def __init__(self, axes: Sequence[str | None], device_mesh: DeviceMesh | None = None):
        self._axes = tuple(axes)
        self._device_mesh = device_mesh
        self._validate_axes()

    @property
    def axes(self) -> tuple[str | None, ...]:
        """For each axis of the tensor the mesh's axis that cuts it, or None."""
        return self._axes

    @property
    def device_mesh(self) -> DeviceMesh | None:
        """The mesh; settable while it is None."""
        return self._device_mesh

    @device_mesh.setter
    def device_mesh(self, device_mesh: DeviceMesh) -> None:
        if self._device_mesh is not None:
            raise ValueError(f"Cannot override device mesh value. Existing value is {self._device_mesh}")
        self._device_mesh = device_mesh
        self._validate_axes()

    @property
    def backend_layout(self) -> tuple[Any, list[Any]]:
        """The same as torch has it: its mesh, and a placement for each axis of the mesh."""
        from torch.distributed.tensor import Replicate, Shard

        mesh = self._device_mesh
        if mesh is None:
            raise ValueError("The layout has no mesh yet: set `layout.device_mesh`, or pass one to `TensorLayout`.")
        placements = [Shard(self._axes.index(n)) if n in self._axes else Replicate() for n in mesh.axis_names]
        return mesh.backend_mesh, placements

    def _validate_axes(self) -> None:
        if self._device_mesh is None:
            return
        unknown = set(self._axes) - {None} - set(self._device_mesh.axis_names)
        if unknown:
            raise ValueError(
                f"Invalid axis names for Layout. Valid axis names: {set(self._device_mesh.axis_names)}, Got {unknown}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} axes={self.axes}, device_mesh={self.device_mesh}>"


class LayoutMap(MutableMapping):
    """Layouts by the paths of variables; a key is also a regular expression, which a whole path must match.

    Args:
        device_mesh: the mesh of layouts that have none.

    >>> import fastk
    >>> mesh = fastk.distribution.DeviceMesh((2,), ["model"], ["cpu:0", "cpu:1"])
    >>> layouts = fastk.distribution.LayoutMap(mesh)
    >>> layouts["dense.*kernel"] = (None, "model")
    >>> layouts["dense_1/kernel"].axes, layouts["dense_1/bias"]
    ((None, 'model'), None)
    """

    def __init__(self, device_mesh: DeviceMesh | None):
        self._layouts: dict[str, TensorLayout] = {}
        self._device_mesh = device_mesh

    @property
    def device_mesh(self) -> DeviceMesh | None:
        """The mesh of layouts that have none."""
        return self._device_mesh

    def __getitem__(self, key: str) -> Any:
        """The layout for a path: of the same key, else of the one pattern that matches; None where none does.

        Raises:
            ValueError: where several patterns match.
        """
        if key in self._layouts:
            return self._layouts[key]
        matching = [pattern for pattern in self._layouts if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple layout specification keys: {matching}. Please make sure each "
                "tensor/variable path only matches at most one layout specification key in the LayoutMap."
            )
        return self._layouts[matching[0]] if matching else None

    def __setitem__(self, key: str, layout: TensorLayout | tuple[str | None, ...]) -> None:
        if key in self._layouts:
            raise ValueError(
                f"{key} already exist in the LayoutMap with value {self._layouts[key]}. Please make sure to not use "
                "duplicated keys."
            )
        if isinstance(layout, tuple):
            layout = TensorLayout(layout)
        if not isinstance(layout, TensorLayout):
            raise ValueError(f"{layout} should be a TensorLayout type, got {type(layout)}")
        if layout.device_mesh is None and self._device_mesh is not None:
            layout.device_mesh = self._device_mesh
        self._layouts[key] = layout

    def __delitem__(self, key: str) -> None:
        del self._layouts[key]

    def __len__(self) -> int:
        return len(self._layouts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)


def distribute_tensor(tensor: Any, layout: TensorLayout) -> Any:
    """`tensor` as a `torch.distributed.tensor.DTensor`, of which each process holds its part.

    Args:
        tensor: the whole tensor, the same on every process; a symbolic tensor is returned as it is.
        layout: which axes are cut, and the mesh.

    >>> import fastk
    >>> mesh = fastk.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    >>> layout = fastk.distribution.TensorLayout(("batch", None), mesh)
    >>> fastk.distribution.distribute_tensor(fastk.Input((3,)), layout).shape
    (None, 3)
    """
    if not isinstance(tensor, (torch.Tensor, np.ndarray)):
        return tensor
    from torch.distributed.tensor import distribute_tensor as distribute

    mesh, placements = layout.backend_layout
    return distribute(torch.as_tensor(tensor, device=get_device()).as_subclass(torch.Tensor), mesh, placements)
