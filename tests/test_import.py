"""`import fastk` is light and touches nothing."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# In a process of its own, what fastk stands on is imported first: what is caught then is fastk's own doing.
PROBE = """
    import json, os, sys
    import numpy, optree, torch

    def refuse(name):
        def refused(*args, **kwargs):
            raise RuntimeError(f"import fastk called torch.cuda.{name}")
        return refused

    for name in ("_lazy_init", "is_available", "device_count", "current_device", "get_device_properties"):
        setattr(torch.cuda, name, refuse(name))

    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.putenv"}
    changes = []

    def watch(event, arguments):
        if event in CHANGES or (event == "open" and arguments[2] & WRITES):
            changes.append(f"{event} {arguments}")

    before = set(sys.modules)
    sys.addaudithook(watch)
    import fastk

    imported = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
    print(json.dumps({"imported": imported, "changes": changes}))
"""
LATER = {"h5py", "matplotlib", "rich", "scipy", "sklearn", "tensorboard", "pandas", "PIL", "cupy", "keras"}


def test_import_touches_no_device_writes_nothing_and_is_light():
    probe = [sys.executable, "-B", "-c", textwrap.dedent(PROBE)]
    result = subprocess.run(probe, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert "fastk" in seen["imported"]
    assert not LATER.intersection(seen["imported"])
    assert seen["changes"] == []
