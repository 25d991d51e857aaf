"""Meshes, layouts, and which distribution holds; in one process."""

import numpy as np
import pytest
import torch

import fastk
from fastk import distribution
from fastk.distribution import ranks, strategies
from fastk.errors import ConfigurationError
from tests.distribution.scenarios import mlp, regression

DEVICES = [f"cpu:{i}" for i in range(8)]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "FASTK_DISTRIBUTION"):
        monkeypatch.delenv(name, raising=False)
    before = strategies._state.given
    strategies._hold(strategies._NONE_GIVEN)
    yield
    strategies._hold(before)


@pytest.fixture
def mesh():
    return distribution.DeviceMesh((4, 2), ["batch", "model"], DEVICES)


def test_a_mesh_is_a_grid_of_devices(mesh):
    assert mesh.shape == (4, 2) and mesh.axis_names == ["batch", "model"]
    assert mesh.devices.tolist()[1] == ["cpu:2", "cpu:3"]
    for arguments, message in (
        (((4,), "", DEVICES), "cannot be empty"),
        (((4, 2), ["batch"], DEVICES), "should have same size"),
        (((4, 4), ["batch", "model"], DEVICES), "does not match the number of devices"),
    ):
        with pytest.raises(ValueError, match=message):
            distribution.DeviceMesh(*arguments)


def test_layouts(mesh):
    layout = distribution.TensorLayout(("batch", None))
    layout.device_mesh = mesh
    with pytest.raises(ValueError, match="Cannot override device mesh"):
        layout.device_mesh = mesh
    with pytest.raises(ValueError, match="Invalid axis names"):
        distribution.TensorLayout(("batch", "other"), mesh)
    layouts = distribution.LayoutMap(mesh)
    layouts[".*kernel"] = (None, "model")
    layouts["dense/.*"] = ("model", None)
    layouts["exact/kernel"] = (None, None)
    assert layouts["conv/kernel"].axes == (None, "model") and layouts["conv/kernel"].device_mesh is mesh
    assert layouts["exact/kernel"].axes == (None, None) and layouts["conv/bias"] is None
    with pytest.raises(ValueError, match="matches multiple"):
        layouts["dense/kernel"]
    with pytest.raises(ValueError, match="already exist"):
        layouts[".*kernel"] = (None,)
    with pytest.raises(ValueError, match="should be a TensorLayout"):
        layouts["new"] = "model"  # type: ignore[assignment]
    del layouts["exact/kernel"]
    assert list(layouts) == [".*kernel", "dense/.*"] and len(layouts) == 2


def test_what_distributions_say(mesh):
    parallel = distribution.DataParallel(devices=DEVICES)
    assert parallel.num_model_replicas == 8 and parallel.batch_dim_name == "batch" and parallel.auto_shard_dataset
    variable = fastk.Variable(np.zeros((2, 3)))
    assert parallel.get_data_layout((4, 2)).axes == ("batch", None)
    assert parallel.get_variable_layout(variable).axes == (None, None) and parallel.get_tensor_layout("a") is None
    layouts = distribution.LayoutMap(mesh)
    layouts["variable.*"] = (None, "model")
    by_layout = distribution.ModelParallel(layout_map=layouts)
    assert by_layout.num_model_replicas == 4 and by_layout.get_variable_layout(variable).axes == (None, "model")
    with pytest.raises(ValueError, match="layout_map"):
        distribution.ModelParallel()
    with pytest.raises(ValueError, match="DeviceMesh"):
        distribution.DataParallel(DEVICES)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="1D"):
        distribution.DataParallel(mesh)


def test_scopes_end_as_they_began():
    first, second = (distribution.DataParallel(devices=DEVICES) for _ in range(2))
    assert distribution.distribution() is None
    with first.scope():
        with second.scope():
            assert distribution.distribution() is second
        assert distribution.distribution() is first
    assert distribution.distribution() is None
    with pytest.raises(ValueError, match="set_distribution"):
        distribution.set_distribution("data")  # pyright: ignore[reportArgumentType]


def test_training_asks_for_a_process_for_each_device():
    model = mlp()
    model.compile("sgd", "mse")
    with (
        distribution.DataParallel(devices=DEVICES).scope(),
        pytest.raises(ValueError, match="torchrun --nproc-per-node=8"),
    ):
        model.fit(*regression(4), verbose=0)
    mesh = distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    by_layout = distribution.ModelParallel(layout_map=distribution.LayoutMap(mesh))
    with by_layout.scope(), pytest.raises(NotImplementedError, match="DataParallel"):
        model.fit(*regression(4), verbose=0)
    with distribution.DataParallel().scope():  # one device, one process: as ever
        model.fit(*regression(4), verbose=0)


def test_the_launcher_suggests_data_parallel(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("FASTK_DISTRIBUTION", "off")
    assert distribution.distribution() is None
    monkeypatch.setenv("FASTK_DISTRIBUTION", "auto")
    assert distribution.list_devices("cpu") == ["cpu:0", "cpu:1", "cpu:2"]
    found = distribution.distribution()
    assert isinstance(found, distribution.DataParallel) and found.num_processes == 3
    assert distribution.distribution() is found
    assert capsys.readouterr().out.count("data-parallel on 3 processes") == 1
    distribution.set_distribution(None)
    assert distribution.distribution() is None and strategies.active() is None
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigurationError, match="RANK"):
        distribution.get_device_count()


def test_other_processes_are_quiet(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("fastk.messages._quiet", None)
    mlp().summary()
    assert capsys.readouterr().out == ""


def test_initialize_says_what_it_needs(monkeypatch):
    with pytest.raises(ValueError, match="torchrun"):
        distribution.initialize()
    with pytest.raises(ValueError, match="num_processes"):
        distribution.initialize("localhost:1234")
    joined = []
    monkeypatch.setattr(ranks, "join", lambda *arguments: joined.append(arguments))
    distribution.initialize("a:1,b:2", 2, 1)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "c:3")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "4")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    distribution.initialize()
    assert joined == [("a:1", 2, 1), ("c:3", 4, 0)]


def test_symbolic_tensors_have_no_layout():
    mesh = distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    symbolic = fastk.Input((3,))
    assert distribution.distribute_tensor(symbolic, distribution.TensorLayout(("batch", None), mesh)) is symbolic


def test_list_devices(monkeypatch):
    assert distribution.list_devices("tpu") == []
    with pytest.raises(ValueError, match="device_type"):
        distribution.list_devices("quantum")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distribution.list_devices("gpu") == ["gpu:0", "gpu:1"]


def test_each_process_has_its_gpu(monkeypatch):
    from fastk.device import _own_gpu

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _own_gpu() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigurationError, match="nproc-per-node=2"):
        _own_gpu()
