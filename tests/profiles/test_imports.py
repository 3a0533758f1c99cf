"""Measurements are read and predictions made without TVM, which takes seconds to load."""

import subprocess
import sys

PROGRAM = """
import pkgutil, sys
import mnv3c.profiles
for module in pkgutil.walk_packages(mnv3c.profiles.__path__, "mnv3c.profiles."):
    __import__(module.name)
loaded = {name.partition(".")[0] for name in sys.modules}
assert "mnv3c.profiles.readers.detect" in sys.modules
print(sorted(loaded & {"tvm", "tvm_ffi", "torch", "onnx", "onnxruntime"}))
"""


def test_no_module_of_profiles_imports_tvm() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
