"""The command `fastk tune`, on a machine without a GPU and on one whose times are planted."""

import argparse
import json

import pytest

import fastk as keras
from fastk import autotune, cli, config, layers, tune
from fastk.autotune import database, tuner
from fastk.autotune.compilation import LATE, Resources, Workers
from fastk.autotune.database import Key, Record, default_database
from fastk.autotune.space import to_data

pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTK_CACHE", str(tmp_path / "cache"))
    autotune.forget()
    yield tmp_path
    autotune.forget()
    database._database.cache_clear()


@pytest.fixture
def saved(tmp_path):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3)], name="net")
    model.save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def record(block_m=128):
    from fastk.kernels.dense.configurations import TUNABLE, GemmConfiguration

    (tunable,) = tune.tunables_of("dense")
    assert tunable is TUNABLE
    options = argparse.Namespace(shape={"M": 512, "N": 512, "K": 512}, dtype="bf16")
    key = Key.of(tunable, tune.problem_of(tunable, options, 90, 132), "NVIDIA Test GPU")
    tiles = [GemmConfiguration(block_m, 128, 64, 8, stages) for stages in (2, 3, 4)]
    timings = [
        {"configuration": to_data(tile), "predicted": 1.0, "microseconds": float(10 * i + 10)}
        for i, tile in enumerate(tiles)
    ]
    return Record(key, to_data(tiles[0]), 10.0, 12.5, timings, {"spills": 2}, 3)


def run(*arguments, capsys):
    status = cli.main(["tune", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_dry_run_is_the_order_of_the_model(capsys):
    status, out, _ = run("op", "dense", "--shape", "M=4096,K=1024,N=1024", "--dry-run", "--top", "3", capsys=capsys)
    lines = out.splitlines()
    assert status == 0 and "predicted, not measured" in lines[0] and "sm_90" in lines[0]
    assert lines[1].split()[:2] == ["1", "1.00"]
    assert any(line.endswith("(default)") for line in lines) and len(lines) in (4, 5)
    assert " us" not in out


def test_a_dry_run_compiles_what_it_prints(monkeypatch, capsys):
    def compiled(self, tunable, problem, arguments, candidates, seconds):
        assert all(t.is_meta for t in arguments[:2])
        return [Resources(72, 0, 65536), "no such instruction", Resources(255, 8, 0)] + [LATE] * (len(candidates) - 3)

    monkeypatch.setattr(Workers, "compile", compiled)
    arguments = ("op", "dense", "--shape", "M=4096,K=1024,N=1024", "--dry-run", "--compile", "--top", "3")
    status, out, _ = run(*arguments, capsys=capsys)
    lines = out.splitlines()
    assert status == 0 and lines[1].endswith("72 registers, 65536 bytes of shared memory")
    assert lines[2].endswith("does not compile: no such instruction")
    assert lines[3].endswith("255 registers, 0 bytes of shared memory, 8 bytes spilt: a search drops it")


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("activation", "numel=100000"),
        ("adam", "numel=100000,tensors=3"),
        ("average_pool2d", "pixels=10000,channels=64,window=2x2,strides=2x2"),
        ("batch_norm", "R=10000,C=64"),
        ("conv2d.correlation", "pixels=10000,columns=64,depth=64,window=3x3"),
        ("conv2d.kernel_gradient", "patch=576,columns=64,pixels=10000,window=3x3"),
        ("depthwise_conv2d", "batch=8,height=56,width=56,channels=64,window=3x3"),
        ("dropout", "size=100000"),
        ("gru", "batch=64,steps=50,units=256"),
        ("layer_norm", "M=4096,N=1024"),
        ("lstm", "batch=64,steps=50,units=256"),
        ("max_pool2d", "pixels=10000,channels=64,window=3x3,strides=2x2"),
        ("rmsprop", "numel=100000"),
        ("sgd", "numel=100000"),
        ("softmax_cross_entropy", "rows=4096,classes=1000"),
    ],
)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_op_has_a_dry_run(op, shape, dtype, capsys):
    status, out, err = run("op", op, "--shape", shape, "--dtype", dtype, "--dry-run", "--arch", "80", capsys=capsys)
    assert status == 0, err
    assert out.count("predicted, not measured") == len(tune.tunables_of(op))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("op", "dense", "--shape", "M=8,K=8,N=8"), "no CUDA device that kernels run on, so nothing can be measured"),
        (("op", "dense", "--dry-run"), "dense.gemm needs M, N, K: pass --shape M=…,N=…,K=…"),
        (
            ("op", "dense", "--shape", "M=8,Q=3", "--dry-run"),
            "dense.gemm knows no Q: its problems have the fields M, N",
        ),
        (("op", "danse", "--dry-run"), "there is no op 'danse' to tune. Expected one of activation, adam"),
        (("op",), "there is no op None to tune"),
        (("shov",), "'shov' is neither a .keras file nor one of op, show"),
        (("export",), "export needs a file"),
        (("import", "absent.json"), "absent.json holds no measurements"),
        (("check", "absent.json"), "absent.json holds no measurements"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, words, capsys):
    status, _, err = run(*arguments, capsys=capsys)
    assert status == 2 and words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "what"),
        (("op", "dense", "--shape", "M"), "expected NAME=VALUE"),
        (("op", "dense", "--seconds", "0"), "--seconds"),
        (("absent.keras",), "File not found"),
    ],
)
def test_wrong_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["tune", *arguments])
    assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_a_model_needs_a_gpu(saved, capsys):
    status, _, err = run(saved, capsys=capsys)
    assert status == 2 and "no CUDA device" in err and config.autotune() == "cached"


def test_show_export_clear_import_check(tmp_path, capsys):
    status, out, _ = run("show", capsys=capsys)
    assert status == 0 and out.startswith("0 measurements in ")
    default_database().put(record())
    _, out, _ = run("show", capsys=capsys)
    assert "128x128x64 w8 s2 10.0 us, the default 12.5 us (1.25 x); dropped: 2 spills; 3 not tried" in out
    assert "dense.gemm M=512 N=512 K=512" in out and "the mode is 'cached'" in out
    file = str(tmp_path / "export.json")
    assert run("export", file, capsys=capsys)[1] == f"Wrote 1 measurements to {file}.\n"
    assert len(json.loads((tmp_path / "export.json").read_text())["entries"]) == 1
    assert run("clear", capsys=capsys)[1].startswith("Removed 1 measurements from ")
    assert not default_database().records()
    assert run("import", file, capsys=capsys)[1].startswith("Added 1 measurements to ")
    assert list(default_database().records().values()) == [record()]
    here, there = run("check", capsys=capsys)[1], run("check", file, capsys=capsys)[1]
    assert here == there and here.startswith("dense.gemm") and "correlation" in here


def test_check_predicts_anew():
    found = tune._predicted_anew(record())
    assert all(timing["predicted"] > 1000 for timing in found.timings)


def test_an_op_is_measured_and_kept(monkeypatch, capsys):
    """The search itself is planted: what it is called with, and what is told of it."""
    asked = []

    def measured(tunable, problem, arguments, anew):
        asked.append((tunable.name, problem, arguments, anew, config.autotune(), config.autotune_seconds()))
        return autotune.Decision(tunable.default(problem), "measured", record())

    monkeypatch.setattr(tuner, "device_name", lambda: "NVIDIA Test GPU")
    monkeypatch.setattr(autotune, "decision_for", measured)
    (tunable,) = tune.tunables_of("dense")
    monkeypatch.setitem(vars(tunable), "example", lambda problem, device: device)
    arguments = ("op", "dense", "--shape", "M=512,K=512,N=512", "--seconds", "3")
    status, out, _ = run(*arguments, capsys=capsys)
    assert status == 0 and "10.0 us, the default 12.5 us" in out
    ((name, problem, example, anew, mode, seconds),) = asked
    assert (name, problem.M, example, anew, mode, seconds) == ("dense.gemm", 512, "cuda", True, "on", 3.0)
    assert config.autotune() == "cached" and config.autotune_seconds() == 10.0


@pytest.mark.parametrize("loss", [None, "mse", "sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_a_step_of_a_model(loss):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    if loss is not None:
        model.compile("sgd", loss)
    before = [v.numpy().copy() for v in model.trainable_variables]
    tune.step(model, 5)
    changed = any((v.numpy() != b).any() for v, b in zip(model.trainable_variables, before, strict=True))
    assert changed == (loss is not None)


def test_a_step_of_a_model_with_two_inputs_and_outputs():
    a, b = layers.Input((4,)), layers.Input((3,), dtype="int32")
    x = layers.Dense(2, name="one")(a)
    y = layers.Dense(5, activation="softmax", name="two")(layers.Flatten()(layers.Embedding(7, 2)(b)))
    model = keras.Model([a, b], [x, y])
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
    tune.step(model, 3)


def test_unknown_sizes_are_refused():
    model = keras.Sequential([layers.Input((None, 4)), layers.LSTM(3)])
    with pytest.raises(tune.Refusal, match="sizes other than the batch's must be known"):
        tune.step(model, 3)
