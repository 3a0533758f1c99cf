"""The machine code of pointwise loops on arm64: registers, kind of multiply-add, and llvm-mca's view of them.

Nothing runs here: the shares of FMA slots are what LLVM's scheduling models say, not measurements.
"""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mnv3c
from mnv3c.compiler.machine_code import Instruction, LlvmTools

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "arm64_static.py"
SOURCES = Path(mnv3c.__file__).parents[1]
# Share of the FMLAs that the device's file says the core can begin, in any loop, and in all loops of a layer as often
# as they run. On Cortex-A55 the last block of some layers has two vectors, too few sums for its one load pipe.
LEAST_SLOT_USE = {"cortex-a55": 0.75, "cortex-a76": 0.85}
LEAST_LAYER_SLOT_USE = {"cortex-a55": 0.85, "cortex-a76": 0.85}
# LLVM unrolls this one's 16 steps by four only.
EXCEPTIONS = {("cortex-a55", "stem+block1.depthwise+block1.project"): 0.8}
# Vectors moved to and from the stack for one FMLA: where LLVM unrolls by eight, it parks a vector of weights once.
MOST_SPILLS = {"cortex-a55": 0.02, "cortex-a76": 0.0}
DEVICES = tuple(LEAST_SLOT_USE)
FMLA = "fmla v0.4s, v1.4s, v2.s[0]"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Assembler:
    """Assembles arm64 text and finds its loops."""

    tools: LlvmTools
    folder: Path

    def loops(self, *lines: str) -> list[list[str]]:
        path = self.folder / "kernel.o"
        command = (self.tools.folder / "llvm-mc", "-triple=aarch64", "-filetype=obj", "-o", path)
        subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)
        return [[instruction.text for instruction in loop] for loop in self.tools.inner_loops(path)]


@pytest.fixture
def assembler(tools: LlvmTools, tmp_path: Path) -> Assembler:
    return Assembler(tools, tmp_path)


@pytest.fixture(scope="module")
def document_of(tools: LlvmTools, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What benchmarks/arm64_static.py says of a device."""
    folder = tmp_path_factory.mktemp("static")
    known: dict[str, dict[str, Any]] = {}

    def document(device: str) -> dict[str, Any]:
        if device not in known:
            path = folder / f"{device}.json"
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(SOURCES), os.environ.get("PYTHONPATH", ""))),
            }
            command = (sys.executable, SCRIPT, "--device", device, "--json", path)
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert "not a latency" in done.stdout
            known[device] = json.loads(path.read_text(encoding="utf-8"))
        return known[device]

    return document


@pytest.fixture(scope="module")
def loops_of(document_of: Callable[[str], dict[str, Any]]) -> Callable[[str], Rows]:
    """The loops of a device; those of one row, which read weights once, are left out."""
    return lambda device: [row for row in document_of(device)["rows"] if not row["one_row"]]


@pytest.mark.parametrize("device", DEVICES)
def test_sums_stay_in_registers(loops_of: Callable[[str], Rows], device: str) -> None:
    rows = loops_of(device)
    most = MOST_SPILLS[device]
    assert [(row["layer"], row["tile"], row["spills"]) for row in rows if row["spills"] > most * row["fma"]] == []


@pytest.mark.parametrize("device", DEVICES)
def test_products_are_fused_multiply_adds_by_element(loops_of: Callable[[str], Rows], device: str) -> None:
    rows = loops_of(device)
    assert len({row["layer"] for row in rows}) >= 15
    for row in rows:
        assert row["by_parts"] == 0, row
        # One or two rows of a tile may come by a broadcasting load instead, which costs no more.
        assert row["by_element"] >= 0.7 * row["fma"], row


@pytest.mark.parametrize("device", DEVICES)
def test_loops_use_the_slots_for_fmas(loops_of: Callable[[str], Rows], device: str) -> None:
    rows = loops_of(device)
    assert {row["model"] for row in rows} == {"cortex-a55" if device == "cortex-a55" else "cortex-a710"}
    least = LEAST_SLOT_USE[device]
    assert [(row["layer"], row["device_slot_use"]) for row in rows if row["device_slot_use"] < least] == []


@pytest.mark.parametrize("device", DEVICES)
def test_layers_use_the_slots_for_fmas(
    document_of: Callable[[str], dict[str, Any]], loops_of: Callable[[str], Rows], device: str
) -> None:
    layers = {row["layer"] for row in loops_of(device)}
    uses = {layer: use for layer, use in document_of(device)["layers"].items() if layer in layers}
    if None in uses.values() and "CI" not in os.environ:
        pytest.skip("no emulator that takes plugins: how often each loop runs is not known")
    assert len(uses) >= 15
    least = LEAST_LAYER_SLOT_USE[device]
    assert [(layer, use) for layer, use in uses.items() if use < EXCEPTIONS.get((device, layer), least)] == []


def test_a_loop_may_be_left_from_its_middle(assembler: Assembler) -> None:
    lines = ("1:", FMLA, "cbz x1, 2f", "subs x0, x0, #1", "b.ne 1b", "2:", "ret")
    assert assembler.loops(*lines) == [["fmla v0.4s, v1.4s, v2.s[0]", "cbz x1, loop", "subs x0, x0, #0x1", "b.ne loop"]]


def test_a_loop_around_a_loop_or_with_a_branch_within_is_no_inner_loop(assembler: Assembler) -> None:
    nested = ("1:", "mov x1, #4", "2:", FMLA, "subs x1, x1, #1", "b.ne 2b", "subs x0, x0, #1", "b.ne 1b")
    branching = ("1:", "cbz x1, 2f", FMLA, "2:", "subs x0, x0, #1", "b.ne 1b")
    assert [loop[0] for loop in assembler.loops(*nested)] == [FMLA]
    assert assembler.loops(*branching) == []


def test_addresses_and_calls_are_no_jumps(assembler: Assembler) -> None:
    assert assembler.loops("f:", "nop", "adrp x0, f", "bl f", "ret") == []


def test_cycles_follow_the_chain_of_sums(tools: LlvmTools) -> None:
    loop = [Instruction(4 * i, *FMLA.split(" ", 1), None) for i in range(3)]
    modelled = tools.modelled(loop, "aarch64", "cortex-a710")
    # The addend of a chain is forwarded after 2 cycles; a whole FMLA takes 4.
    assert 3 * 2 <= modelled.cycles <= 3 * 4 + 0.1
    assert modelled.reciprocal_throughputs == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("mnemonic, processor", [("fmlaaa", "cortex-a710"), ("fmla", "cortex-a7100")])
def test_what_llvm_mca_cannot_read_is_an_error(tools: LlvmTools, mnemonic: str, processor: str) -> None:
    readable = Instruction(0, *FMLA.split(" ", 1), None)
    with pytest.raises(RuntimeError, match="llvm-mca"):
        tools.modelled([readable, Instruction(4, mnemonic, readable.operands, None)], "aarch64", processor)


@pytest.mark.parametrize(
    "text, spill",
    [
        ("str q7, [sp, #0xc0]", True),
        ("ldp q2, q1, [sp, #0xa0]", True),
        ("ldr x9, [sp, #0x8]", False),
        ("ldp q2, q1, [x15, #0xa0]", False),
        ("ldr s7, [x16]", False),
    ],
)
def test_spills_are_vector_registers_on_the_stack(text: str, spill: bool) -> None:
    is_spill = runpy.run_path(str(SCRIPT))["is_spill"]
    assert is_spill(Instruction(0, *text.split(" ", 1), None)) is spill


def test_an_unknown_device_is_refused_in_one_line(tools: LlvmTools) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCES), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(
        (sys.executable, SCRIPT, "--device", "abacus"), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "abacus" in done.stderr
