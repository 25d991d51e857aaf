"""`fastk run` and `install_as_keras`: programs written for Keras, in processes of their own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from fastk import as_keras, run

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments, cwd, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def write(folder, name, source):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


# What a program can see of how it was started, without Keras.
SEEN = """
    import json, os, sys
    import beside
    seen = {
        "argv": sys.argv, "name": __name__, "file": __file__, "spec": repr(__spec__), "package": __package__,
        "path": sys.path[0], "cwd": os.getcwd(), "main": sys.modules["__main__"].__dict__ is globals(),
        "names": sorted(n for n in globals() if n.startswith("__") and n != "__annotations__"),
    }
"""


def test_a_program_sees_what_it_sees_under_python(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path, "beside.py", "")
    write(
        tmp_path,
        "program.py",
        textwrap.dedent(SEEN)
        + "print(json.dumps(seen))\nif 'keras' in sys.argv:\n    import keras\n    print(keras.Model)\nsys.exit(7)",
    )
    arguments = ["../program.py", "--help", "-m", "x y"]
    plain = python(*arguments, cwd=tmp_path / "elsewhere")
    ours = python("-m", "fastk", "run", *arguments, "keras", cwd=tmp_path / "elsewhere")
    assert plain.returncode == ours.returncode == 7, ours.stderr
    printed, model = ours.stdout.splitlines()
    assert model == "<class 'fastk.models.model.Model'>"
    seen = json.loads(printed)
    assert seen.pop("argv") == [*json.loads(plain.stdout)["argv"], "keras"]
    assert seen == {key: value for key, value in json.loads(plain.stdout).items() if key != "argv"}


def test_a_module_runs_with_m(tmp_path):
    write(tmp_path, "beside.py", "")
    write(tmp_path, "package/__init__.py", "")
    write(tmp_path, "package/program.py", textwrap.dedent(SEEN) + "import keras; print(json.dumps(seen))")
    ours = python("-m", "fastk.run", "-m", "package.program", "-m", "5", cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    seen = json.loads(ours.stdout)
    assert seen["argv"] == [str(tmp_path / "package/program.py"), "-m", "5"]
    assert (seen["name"], seen["package"], seen["main"]) == ("__main__", "package", True)
    assert "package.program" in seen["spec"] and seen["path"] == str(tmp_path)


def test_classes_of_main_are_pickled_and_spawned_processes_import_keras_too(tmp_path):
    write(
        tmp_path,
        "program.py",
        """
        import multiprocessing, pickle
        import keras

        class Doubled(keras.layers.Layer):
            def call(self, x):
                return keras.ops.add(x, x)

        def work(layer):
            import keras.ops as ops
            return float(ops.sum(layer(ops.ones((3,))))), keras.__version__

        if __name__ == "__main__":
            assert type(pickle.loads(pickle.dumps(Doubled()))) is Doubled
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [Doubled()]))
        """,
    )
    ours = python("-m", "fastk.run", "program.py", cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == f"[(6.0, '{as_keras.KERAS_VERSION}')]\n"


def test_a_traceback_starts_at_the_program(tmp_path):
    write(
        tmp_path,
        "program.py",
        """
        from keras import layers

        def fail():
            layers.Dense(units=-1)

        fail()
        """,
    )
    ours = python("-m", "fastk.run", "program.py", cwd=tmp_path)
    assert ours.returncode == 1
    lines = [line.strip() for line in ours.stderr.splitlines()]
    assert lines[:4] == [
        "Traceback (most recent call last):",
        f'File "{tmp_path}/program.py", line 7, in <module>',
        "fail()",
        f'File "{tmp_path}/program.py", line 5, in fail',
    ]
    assert "runpy" not in ours.stderr and "fastk/run.py" not in ours.stderr
    assert lines[-1].startswith("ValueError: ")


def test_a_faulty_or_absent_program(tmp_path, capsys):
    write(tmp_path, "program.py", "def")
    ours = python("-m", "fastk.run", "program.py", cwd=tmp_path)
    plain = python("program.py", cwd=tmp_path)
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)
    assert run.main([str(tmp_path / "absent.py")]) == 2
    assert "can't open file" in capsys.readouterr().err
    assert run.main([]) == run.main(["-m"]) == run.main(["--wrong"]) == 2
    assert run.main(["--help"]) == 0 and "usage: fastk run" in capsys.readouterr().out


IMPORTS = """
    import warnings, sys
    import fastk
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastk.install_as_keras()
        fastk.install_as_keras()
    (warning,) = caught
    assert "'jax'" in str(warning.message) and warning.filename == "<string>", warning
    before = set(sys.modules)
    import keras
    assert keras.__version__ == keras.version() == "3.15.1" and keras.backend.backend() == "torch"
    from fastk import layers
    assert (keras.__file__, keras.layers.__file__) == (fastk.__file__, layers.__file__)
    import keras.backend as K, keras.ops.numpy as knp
    from keras.optimizers.schedules import CosineDecay
    from keras import ops, layers as L
    from keras.layers import *
    assert Dense is L.Dense is keras.layers.Dense is fastk.layers.Dense and knp.add is fastk.ops.numpy.add
    assert "Dense" in dir(keras.layers) and "schedules" in dir(keras.optimizers) and "autograd" not in dir(keras)
    assert keras.layers is L and keras.utils.set_random_seed is fastk.utils.set_random_seed
    assert not hasattr(keras.layers, "core") and not hasattr(keras.ops, "_x")
    for code, kind, *parts in [
        ("from keras.layers import Dens", ImportError, "`keras.layers.Dens`", "`Dense`", "docs/compatibility.md"),
        ("keras.layers.Dens", AttributeError, "`keras.layers.Dens`", "`Dense`", "docs/compatibility.md"),
        ("import keras.layer", ImportError, "`keras.layer`", "`layers`"),
        ("from keras import optimisers", ImportError, "`keras.optimisers`", "`optimizers`"),
        ("import keras.src.layers.layer", ImportError, "keras.src.layers.layer", "public name"),
        ("from keras.src import layers", ImportError, "keras.src", "public name"),
        ("keras.src", AttributeError, "`keras.src`"),
        ("keras.visualization", AttributeError, "`keras.visualization`"),  # public, and not there
        ("import keras.visualization", ImportError, "`keras.visualization`"),
    ]:
        try:
            exec(code)
        except kind as error:
            assert all(part in str(error) for part in parts), error
        else:
            raise SystemExit(f"{code} went through")
    assert not any(name.startswith("keras.src") for name in sys.modules)
"""


def test_imports_under_keras(tmp_path):
    done = python("-c", textwrap.dedent(IMPORTS), cwd=tmp_path, KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr


MIXED = """
import sys
import fastk
from fastk import as_keras

sys.modules["keras"] = type(sys)("keras")
try:
    fastk.install_as_keras()
except RuntimeError as error:
    assert "before the first import of keras" in str(error), error
else:
    raise SystemExit("installed beside the real one")
assert not any(isinstance(finder, as_keras.KerasFinder) for finder in sys.meta_path)
"""


def test_the_real_keras_is_not_mixed_in(tmp_path):
    done = python("-c", MIXED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
