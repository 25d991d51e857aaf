"""`Distribution` and its kinds: how a model and its data lie on several devices, and which one holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastk import config, messages
from fastk.distribution import ranks
from fastk.distribution.mesh import DeviceMesh, LayoutMap, TensorLayout, check_processes, list_devices
from fastk.user_warning import warn_user

BATCH = "batch"


class Distribution:
    """Base of the ways to use several devices.

    Args:
        device_mesh: the devices.
        batch_dim_name: the axis of the mesh along which batches are cut.
        auto_shard_dataset: whether batches are those of all processes, and each takes its part; False where the data
            of each process is its own part already.
    """

    shards_models = False
    """Whether each process holds but a part of a model."""

    def __init__(self, device_mesh: DeviceMesh, batch_dim_name: str | None = None, auto_shard_dataset: bool = True):
        self._device_mesh = device_mesh
        self._batch_dim_name = batch_dim_name
        self._auto_shard_dataset = auto_shard_dataset
        self._process_id = ranks.process_id()

    @property
    def device_mesh(self) -> DeviceMesh:
        """The devices."""
        return self._device_mesh

    @property
    def batch_dim_name(self) -> str | None:
        """The axis of the mesh along which batches are cut."""
        return self._batch_dim_name

    @property
    def auto_shard_dataset(self) -> bool:
        """Whether each process takes its part of every batch; settable."""
        return self._auto_shard_dataset

    @auto_shard_dataset.setter
    def auto_shard_dataset(self, auto_shard_dataset: bool) -> None:
        self._auto_shard_dataset = auto_shard_dataset

    @property
    def num_processes(self) -> int:
        """How many processes there are."""
        return ranks.process_count()

    @property
    def num_model_replicas(self) -> int:
        """How many copies of the model there are."""
        raise NotImplementedError(f"{type(self).__name__} must implement `num_model_replicas`.")

    @property
    def data_shard_id(self) -> int:
        """Which part of the data is this process's."""
        replicas, processes = self.num_model_replicas, self.num_processes
        return self._process_id // max(processes // replicas, 1)

    def get_data_layout(self, data_shape: Sequence[int]) -> TensorLayout:
        """The layout of data of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must implement `get_data_layout`.")

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """The layout of a variable."""
        raise NotImplementedError(f"{type(self).__name__} must implement `get_variable_layout`.")

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """The layout of a tensor inside the model; None where it is left as it is."""
        raise NotImplementedError(f"{type(self).__name__} must implement `get_tensor_layout`.")

    def distribute_dataset(self, dataset: Any) -> Any:
        """The dataset itself: `fit` takes each process's part of its batches as they come."""
        return dataset

    def distribute_tf_dataset(self, dataset: Any) -> Any:
        """The same for a `tf.data.Dataset`."""
        return self.distribute_dataset(dataset)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Makes this the distribution that holds inside the `with` block."""
        before = _state.given
        set_distribution(self)
        try:
            yield
        finally:
            _hold(before)

    def _whole(self, shape: Sequence[Any]) -> TensorLayout:
        return TensorLayout([None] * len(shape), self.device_mesh)

    def _cut_in_batches(self, shape: Sequence[Any]) -> TensorLayout:
        return TensorLayout([self.batch_dim_name, *[None] * (len(shape) - 1)], self.device_mesh)

    def _start(self) -> ranks.Group | None:
        """The processes to train with; None where there is one."""
        raise NotImplementedError(f"A {type(self).__name__} cannot be trained with: use `DataParallel`.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} device_mesh={self.device_mesh}>"


class DataParallel(Distribution):
    """Every device has the whole model and computes its part of each batch; gradients are averaged.

    Args:
        device_mesh: the devices, in one axis; of several axes the first one counts, with a warning.
        devices: their names, in the place of a mesh; by default those of `list_devices()`.
        auto_shard_dataset: whether `batch_size` and the batches of datasets are those of all processes together, each
            of which takes its part. False where each process has its own data: its batches are then its parts.

    Each process has one device: `torchrun --nproc-per-node=8 train.py` starts eight. `docs/many_devices.md` says what
    `fit` then does.

    >>> import fastk
    >>> fastk.distribution.DataParallel(devices=["cpu:0", "cpu:1"])
    <DataParallel device_mesh=<DeviceMesh shape=(2,), axis_names=['batch']>>
    """

    def __init__(self, device_mesh: DeviceMesh | None = None, devices: Any = None, auto_shard_dataset: bool = True):
        if device_mesh is not None and not isinstance(device_mesh, DeviceMesh):
            raise ValueError(
                f"Expect `mesh` to be an instance of `DeviceMesh`. Received: mesh={device_mesh} (of type "
                f"{type(device_mesh)})"
            )
        if device_mesh is None:
            devices = np.array(list_devices() if devices is None else devices)
            device_mesh = DeviceMesh(devices.shape, [BATCH], devices)
        super().__init__(device_mesh, device_mesh.axis_names[0], auto_shard_dataset)
        if device_mesh.devices.ndim != 1:
            warn_user(
                f"Expect the input mesh to be 1D, but received mesh.devices.ndim={device_mesh.devices.ndim}. The first "
                "axis will be used for data-parallel sharding."
            )

    @property
    def num_model_replicas(self) -> int:
        """As many as devices."""
        return int(self.device_mesh.devices.size)

    def get_data_layout(self, data_shape: Sequence[int]) -> TensorLayout:
        """Cut along the first axis."""
        return self._cut_in_batches(data_shape)

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """The variable's own layout, else whole on every device."""
        own = getattr(variable, "_layout", None)
        return self._whole(variable.shape) if own is None else own

    def get_tensor_layout(self, path: str) -> None:
        """None: tensors inside the model are left as they are."""

    def _start(self) -> ranks.Group | None:
        check_processes(self.device_mesh)
        return ranks.enter()


class FullySharded(DataParallel):
    """As `DataParallel`, but that each device keeps a part of each variable and of what the optimizer remembers of it.

    For models that do not fit on a device with their optimizer. Layers are gathered one by one while they run, by
    torch's FSDP2. It is no name of Keras's.

    Args:
        device_mesh, devices, auto_shard_dataset: as in `DataParallel`.

    >>> import fastk
    >>> fastk.distribution.FullySharded(devices=["cpu:0", "cpu:1"]).num_model_replicas
    2
    """

    shards_models = True


class ModelParallel(Distribution):
    """Variables cut by a `LayoutMap`. It describes layouts; fastk does not train by it, and says so when it is set.

    Args:
        layout_map: the layouts of variables by their paths.
        batch_dim_name: the axis of the mesh along which batches are cut; by default the first one.
        auto_shard_dataset: as in `DataParallel`.

    >>> import fastk
    >>> mesh = fastk.distribution.DeviceMesh((1, 2), ["batch", "model"], ["cpu:0", "cpu:1"])
    >>> layouts = fastk.distribution.LayoutMap(mesh)
    >>> layouts[".*kernel"] = (None, "model")
    >>> fastk.distribution.ModelParallel(layout_map=layouts).get_tensor_layout("dense/kernel").axes
    (None, 'model')
    """

    def __init__(
        self,
        *,
        layout_map: LayoutMap | None = None,
        batch_dim_name: str | None = None,
        auto_shard_dataset: bool = True,
        **kwargs: Any,
    ):
        kwargs.pop("device_mesh", None)  # the layouts' own counts, as in Keras
        if kwargs:
            raise TypeError(f"Unknown arguments of ModelParallel: {sorted(kwargs)}.")
        if layout_map is None:
            raise ValueError("You must specify a layout_map argument.")
        if not isinstance(layout_map, LayoutMap) or layout_map.device_mesh is None:
            raise ValueError(
                f"Argument `layout_map` must be a `LayoutMap` instance with a mesh. Received: layout_map={layout_map}"
            )
        mesh = layout_map.device_mesh
        super().__init__(mesh, batch_dim_name or mesh.axis_names[0], auto_shard_dataset)
        self._layout_map = layout_map
        processes, replicas = self.num_processes, self.num_model_replicas
        if processes > replicas and processes % replicas:
            raise ValueError(
                "If `num_processes` is greater than `num_model_replicas`, `num_processes` must be divisible by "
                f"`num_model_replicas`. Got num_processes={processes}, num_model_replicas={replicas}."
            )

    @property
    def num_model_replicas(self) -> int:
        """The length of the mesh along the batches' axis."""
        return int(self.device_mesh.shape[list(self.device_mesh.axis_names).index(self.batch_dim_name or "")])

    def get_data_layout(self, data_shape: Sequence[int]) -> TensorLayout:
        """Cut along the first axis."""
        return self._cut_in_batches(data_shape)

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """The variable's own layout, else the map's for its path, else whole on every device."""
        own = getattr(variable, "_layout", None)
        found = self._layout_map[variable.path] if own is None else own
        return self._whole(variable.shape) if found is None else found

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """The map's layout for this path."""
        return self._layout_map[path]

    def _start(self) -> ranks.Group | None:
        raise NotImplementedError(
            "fastk does not cut layers by a `LayoutMap`. Train a model that fits on one device with "
            "`keras.distribution.DataParallel()`, a larger one with `FullySharded()`; `distribute_tensor` cuts single "
            "tensors."
        )


class _State:
    given: Any = None
    is_given = False  # else it is what the launcher suggests
    group: ranks.Group | None = None
    is_found = False


_state = _State()
_NONE_GIVEN = object()


def set_distribution(value: Distribution | None) -> None:
    """Sets how models are trained from now on; None: each process by itself.

    Args:
        value: such as `DataParallel()`. All processes set the same.

    >>> import fastk
    >>> fastk.distribution.set_distribution(fastk.distribution.DataParallel(devices=["cpu:0"]))
    >>> fastk.distribution.distribution()
    <DataParallel device_mesh=<DeviceMesh shape=(1,), axis_names=['batch']>>
    >>> fastk.distribution.set_distribution(None)
    """
    if value is not None and not isinstance(value, Distribution):
        raise ValueError(
            f"`set_distribution` takes a distribution, such as `keras.distribution.DataParallel()`, or None. "
            f"Received: {value!r} (of type {type(value)})"
        )
    _hold(value)


def _hold(value: Any) -> None:
    _state.given, _state.group, _state.is_found = value, None, False


_state.given = _NONE_GIVEN


def distribution() -> Distribution | None:
    """The distribution that was set; where none was, `DataParallel()` under `torchrun`, and else None."""
    if _state.given is not _NONE_GIVEN:
        return _state.given
    launched = config.launched_as()
    if launched is None or launched[1] < 2 or config.read_environment("FASTK_DISTRIBUTION") == "off":
        return None
    _hold(DataParallel())
    if launched[0] == 0:
        messages.tell(
            f"fastk trains data-parallel on {launched[1]} processes, as torchrun started them; batch_size is that of "
            "all together. keras.distribution.set_distribution(None) or FASTK_DISTRIBUTION=off turns it off."
        )
    return _state.given


def active() -> ranks.Group | None:
    """The processes that train together; None where this one is alone. All of them ask for it at the same place."""
    if not _state.is_found:
        holds = distribution()
        if holds is None:
            messages.leave_to_first_rank(False)
        else:
            _state.group = holds._start()
        _state.is_found = True
    return _state.group


def cuts_data() -> bool:
    """Whether each process is to take its part of every batch."""
    holds = distribution()
    return holds is not None and holds.auto_shard_dataset


def shards_models() -> bool:
    """Whether each process is to hold but a part of a model."""
    holds = distribution()
    return holds is not None and holds.shards_models


def initialize(
    job_addresses: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Has the processes find each other, where not `torchrun` but something else has started them.

    Args:
        job_addresses: `host:port` of the first process, or of all, separated by commas: the first one counts.
        num_processes: how many processes there are.
        process_id: the number of this one, from 0 on.

    What is not given is read from `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES` and
    `KERAS_DISTRIBUTION_PROCESS_ID`, else from the variables that `torchrun` sets. Call
    `set_distribution(DataParallel())` after it; under `torchrun` neither is needed.

    Raises:
        ConfigurationError: where the others cannot be found.
    """
    addresses = job_addresses or str(config.read_environment("KERAS_DISTRIBUTION_JOB_ADDRESSES"))
    launched = config.launched_as() or (None, None)
    size = _first(num_processes, config.read_environment("KERAS_DISTRIBUTION_NUM_PROCESSES"), launched[1])
    rank = _first(process_id, config.read_environment("KERAS_DISTRIBUTION_PROCESS_ID"), launched[0])
    if not addresses and launched[0] is None:
        raise ValueError(
            "`initialize()` does not know where the other processes are: start the program by `torchrun`, or pass "
            "job_addresses='host:port' of the first process, num_processes and process_id."
        )
    if addresses and (size is None or rank is None):
        raise ValueError(
            "`initialize()` with addresses needs `num_processes` and `process_id`. "
            f"Received: num_processes={size}, process_id={rank}"
        )
    ranks.join(addresses.split(",")[0].strip() or None, size, rank)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
