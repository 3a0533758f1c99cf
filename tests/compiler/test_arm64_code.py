"""The machine code of pointwise loops on arm64: registers, kind of multiply-add, and llvm-mca's view of them.

No board runs here: the shares of FMA slots are what LLVM's scheduling models say, not measurements.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.machine_code import Instruction, LlvmTools
from mnv3c.graph.errors import MissingError
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.targets.registry import find_device

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEAST_SLOT_USE = 0.85
