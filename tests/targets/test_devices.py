"""Every shipped device is sound, the registry finds it, and each kind of broken file is refused by its key."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv3c.graph.errors import UserError
from mnv3c.targets.device import CpuDevice, Device, device_from_document, load_device
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.registry import (
    HOST,
    default_device,
    device_names,
    device_paths,
    devices,
    find_device,
    host_target,
    target_names,
)

PATHS = [path for target in target_names() for path in device_paths(target)]
CPUS = [device.name for target in target_names() for device in devices(target)]
A76 = next(path for path in PATHS if path.stem == "cortex-a76")

Edit = Callable[[dict[str, Any]], object]


def numbers_in(node: object, inside_value: bool = False) -> int:
    """Count numbers of a file that do not stand beside a source: an oracle that knows nothing of the model."""
    if isinstance(node, dict):
        sourced = set(node) == {"value", "source"}
        return sum(numbers_in(child, sourced and key == "value") for key, child in node.items())
    if isinstance(node, list):
        return sum(numbers_in(child) for child in node)
    return int(isinstance(node, int | float) and not isinstance(node, bool) and not inside_value)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_shipped_device_is_sound(path: Path) -> None:
    device = load_device(path, Device)
    assert (device.name, device.target) == (path.stem, path.parent.parent.name)
    assert path.stem == path.stem.lower()
    assert path.read_text().startswith("# ")
    assert numbers_in(yaml.safe_load(path.read_text())) == 0
    quantities = device.quantities()
    assert len(quantities) == len(device.sources)
    assert all(quantity.source == device.source(quantity.key) for quantity in quantities)
    used = {quantity.source.partition(": ")[0] for quantity in quantities} - {"assumption"}
    assert used == {key for key, _ in device.references}
    assert device_from_document(json.loads(json.dumps(device.document())), "copy", Device) == device
    assert hash(device) == hash(load_device(path, Device))


@pytest.mark.parametrize("name", CPUS)
def test_a_cpu_has_seventeen_numbers_and_two_more_where_they_are_known(name: str) -> None:
    device = find_device(name)
    optional = (device.vector.load_pair_cycles, device.vector.tile_bf16_macs)
    assert len(device.quantities()) == 17 + sum(value is not None for value in optional)


def test_attributes_are_plain_numbers_in_base_units() -> None:
    device = load_device(A76)
    assert (device.vector.bits, device.vector.registers, device.vector.fma_pipes) == (128, 32, 2)
    assert (device.cache.l1d_bytes, device.cache.l2_bytes, device.cores) == (65536, 524288, 4)
    assert device.llvm.cpu == "cortex-a76" and "+dotprod" in device.llvm.features
    assert (device.lanes(), device.lanes(16), device.lanes(8)) == (4, 8, 16)
    # 2.4 GHz x 2 pipes x 4 lanes x 2 operations.
    assert device.clock_hz.max == 2_400_000_000 and device.peak_flops == 38.4e9
    assert not next(q for q in device.quantities() if q.key == "vector.bits").is_assumption


def test_a_device_cannot_be_changed() -> None:
    device = load_device(A76)
    with pytest.raises(ValueError, match="frozen"):
        device.vector.bits = 256


def edited(edit: Edit) -> dict[str, Any]:
    document = yaml.safe_load(A76.read_text())
    edit(document)
    return dict(document)


def test_the_fingerprint_follows_numbers_and_not_prose() -> None:
    def of(edit: Edit) -> str:
        return device_from_document(edited(edit), "edited").fingerprint

    original = load_device(A76).fingerprint
    assert re.fullmatch(r"[0-9a-f]{64}", original)
    assert of(lambda d: d.update(title="Another board")) == original
    assert of(lambda d: d["cores"].update(source="assumption: counted")) == original
    assert of(lambda d: d["cache"]["l1d_bytes"].update(value=65536)) == original
    assert of(lambda d: d["cache"]["l1d_bytes"].update(value=65535)) != original
    assert of(lambda d: d["llvm"].update(features=["+neon"])) != original
    assert len({load_device(path, Device).fingerprint for path in PATHS}) == len(PATHS)


def test_keys_that_may_be_left_out_count_where_they_are_said() -> None:
    plain = device_from_document(edited(lambda d: None), "plain")
    assert (plain.llvm.unrolls, plain.vector.load_pair_cycles) == (False, None)
    assert device_from_document(edited(lambda d: d["llvm"].update(unrolls=False)), "said").fingerprint == (
        plain.fingerprint
    )
    for edit in (
        lambda d: d["llvm"].update(unrolls=True),
        lambda d: d["vector"].update(load_pair_cycles={"value": 4, "source": "sog: ldp"}),
    ):
        device = device_from_document(edited(edit), "edited")
        assert device.fingerprint != plain.fingerprint
        assert device_from_document(json.loads(json.dumps(device.document())), "copy").document() == device.document()


def test_a_stand_in_for_the_scheduling_model_changes_no_code() -> None:
    own, other = (edited(lambda d, name=name: d["llvm"].update(model=name)) for name in ("cortex-a77", "cortex-a710"))
    one, two = device_from_document(own, "own"), device_from_document(other, "other")
    assert one.fingerprint == two.fingerprint
    assert (one.llvm.scheduling_model, two.llvm.scheduling_model) == ("cortex-a77", "cortex-a710")
    assert find_device("cortex-a55").llvm.scheduling_model == "cortex-a55"


def number(section: str, key: str, value: object) -> Edit:
    return lambda d: d[section][key].update(value=value)


BROKEN: list[tuple[str, Edit, str]] = [
    ("unknown section", lambda d: d.update(vectro=d.pop("vector")), "vectro: unknown key; allowed: name, target"),
    (
        "unknown key",
        lambda d: d["vector"].update(pipes={"value": 1, "source": "sog"}),
        "vector.pipes: unknown key; allowed",
    ),
    ("missing section", lambda d: d.pop("cache"), "cache: is missing"),
    ("missing key", lambda d: d["vector"].pop("registers"), "vector.registers: is missing"),
    ("missing clock", lambda d: d["clock_hz"].pop("max"), "clock_hz.max: is missing"),
    ("bare number", lambda d: d["vector"].update(bits=128), "vector.bits: must be written {value"),
    ("no source", lambda d: d["vector"]["bits"].pop("source"), "vector.bits: must be written {value"),
    ("empty source", lambda d: d["cores"].update(source=" "), "cores.source: must be text"),
    ("number as source", lambda d: d["cores"].update(source=7), "cores.source: must be text"),
    ("unknown reference", lambda d: d["cores"].update(source="blog: 4"), "cores.source: must begin with one of: isa"),
    ("assumption without why", lambda d: d["cores"].update(source="assumption"), "cores.source: must begin with"),
    ("extra beside value", lambda d: d["cores"].update(unit="x"), "cores: must be written {value"),
    ("zero", number("vector", "fma_pipes", 0), "vector.fma_pipes: should be greater than 0, not '0'"),
    (
        "negative",
        number("vector", "registers", -32),
        "vector.registers: should be greater than or equal to 4, not '-32'",
    ),
    ("zero bytes", number("cache", "l1d_bytes", "0 KiB"), "cache.l1d_bytes: should be greater than 0"),
    ("text for a count", number("vector", "bits", "wide"), "vector.bits: should be a valid integer, not 'wide'"),
    ("fraction", number("vector", "bits", 128.5), "vector.bits: should be a valid integer, not '128.5'"),
    (
        "truth for a count",
        number("vector", "fma_pipes", True),
        "vector.fma_pipes: should be a valid integer, not 'True'",
    ),
    ("count for a truth", number("vector", "fp16", 1), "vector.fp16: should be a valid boolean, not '1'"),
    ("not a power of two", number("vector", "bits", 96), "vector.bits: must be a power of two, not '96'"),
    (
        "decimal kilobytes",
        number("cache", "l2_bytes", "512 KB"),
        "cache.l2_bytes: must be an integer or a number with one",
    ),
    ("wrong unit", number("clock_hz", "max", "2.4 GiB"), "clock_hz.max: must be an integer or a number with one of"),
    (
        "forgotten unit",
        number("clock_hz", "min", 2),
        "clock_hz.min: should be greater than or equal to 1000000, not '2'",
    ),
    ("clock range reversed", number("clock_hz", "min", "3 GHz"), "clock_hz: min must not be above max"),
    ("caches reversed", number("cache", "l1d_bytes", "1 MiB"), "cache: l1d_bytes must not be above l2_bytes"),
    ("null size", number("cache", "l2_bytes", None), "cache.l2_bytes: should be a valid integer, not 'null'"),
    ("bad optional size", number("cache", "l3_bytes", "much"), "cache.l3_bytes: must be an integer or a number with"),
    ("list for a section", lambda d: d.update(vector=[1]), "vector: should be a valid dictionary"),
    ("text for a section", lambda d: d.update(memory="fast"), "memory: should be a valid dictionary"),
    ("capital name", lambda d: d.update(name="Cortex-A76"), "name: should match pattern"),
    ("two-line title", lambda d: d.update(title="a\nb"), "title: should match pattern"),
    ("feature without sign", lambda d: d["llvm"].update(features=["neon"]), "llvm.features.0: should match pattern"),
    ("features as text", lambda d: d["llvm"].update(features="+neon"), "llvm.features: should be a valid tuple"),
    ("bad part", lambda d: d["cpuinfo"].update(parts=["d0b"]), "cpuinfo.parts.0: should match pattern"),
    ("reserved reference", lambda d: d["references"].update(assumption="x"), "references: 'assumption' is reserved"),
    ("sources key", lambda d: d.update(sources={}), "sources: is not a key of a device file"),
]


@pytest.mark.parametrize(("edit", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_device_is_refused_by_its_key(edit: Edit, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(edited(edit)))
    with pytest.raises(UserError) as error:
        load_device(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "must be a mapping of keys to values, not an empty document"),
    ("list", b"- name\n", "must be a mapping of keys to values, not a list"),
    ("text", b"cortex-a76\n", "must be a mapping of keys to values, not the value 'cortex-a76'"),
    ("duplicate", b"name: a\nname: b\n", "line 2: the key 'name' appears twice"),
    ("inner duplicate", b"llvm:\n  cpu: a\n  cpu: b\n", "line 3: the key 'cpu' appears twice"),
    ("number as key", b"1: a\n", "line 1: a key must be text"),
    ("list as key", b"[a]: b\n", "line 1: a key must be text"),
    ("truncated", A76.read_bytes()[:-30], "line "),
    ("deep", b"a: " + b"[" * 5000, "line 1: is nested deeper than the 12 levels allowed"),
    ("alias", b"a: &x [1]\nb: *x\n", "line 2: aliases are not allowed"),
    ("object", b"a: !!python/object:os.system {}\n", "line 1: could not determine a constructor"),
    ("two documents", b"a: 1\n---\nb: 2\n", "line 2: but found another document"),
    ("not UTF-8", b"name: \xff\xfe\n", "is not UTF-8 text"),
    ("control character", b"name: \x07\n", "is not valid YAML"),
    ("bad date", b"name: 2020-99-99\n", "a value cannot be read"),
    ("too large", b"# " + b"x" * 300_000, "is larger than the 256 KiB allowed"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_file_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "malformed.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_device(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_device(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_device(tmp_path)


def test_targets_are_the_folders_with_devices() -> None:
    assert {"arm64", "riscv64", "x86_64"} <= set(target_names())
    assert "cpu" not in target_names()
    for target in target_names():
        known = devices(target, Device)
        assert [device.name for device in known] == sorted(path.stem for path in device_paths(target))
        assert sum(device.default for device in known) <= 1
    names = [path.stem for path in PATHS]
    assert len(set(names)) == len(names) and HOST not in names


def test_the_default_device_comes_from_the_files() -> None:
    assert default_device("arm64") == "cortex-a76"
    assert default_device("riscv64") == "sifive-u74"
    assert default_device("x86_64") == HOST


def test_a_device_is_found_by_name_by_target_and_by_path(tmp_path: Path) -> None:
    assert find_device("cortex-a55").target == "arm64"
    assert find_device("haswell", "x86_64").vector.bits == 256
    copy = tmp_path / "mine.yaml"
    copy.write_text(A76.read_text().replace("name: cortex-a76", "name: my-board"))
    assert find_device(str(copy)).name == "my-board"
    assert find_device(str(copy), "arm64").vector == find_device("cortex-a76").vector


def test_an_unknown_device_lists_what_there_is_and_what_is_close() -> None:
    with pytest.raises(
        UserError, match=r"no device 'cortex-a67'; did you mean .*cortex-a76.* known: host, .*neoverse-n1"
    ):
        find_device("cortex-a67")
    with pytest.raises(UserError, match=r"no device 'i7'; known: host, cortex-a53, [^:]*neoverse-n1, or the path"):
        find_device("i7", "arm64")
    with pytest.raises(UserError, match="device 'haswell' belongs to target 'x86_64', not to 'arm64'"):
        find_device("haswell", "arm64")
    with pytest.raises(UserError, match="no target 'arm46'; did you mean arm64"):
        find_device("cortex-a76", "arm46")


def test_a_file_for_another_or_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="belongs to target 'arm64', not to 'x86_64'"):
        find_device(str(A76), "x86_64")
    path = tmp_path / "strange.yaml"
    path.write_text(A76.read_text().replace("target: arm64", "target: sparc"))
    with pytest.raises(UserError, match=r"strange.yaml: target: must be one of .*arm64, .*, not 'sparc'"):
        find_device(str(path))


def test_the_host_is_a_name_of_targets_that_can_detect_it() -> None:
    assert device_names()[0] == HOST
    assert HOST in device_names("x86_64") and HOST in device_names("arm64")
    assert HOST not in device_names("riscv64")
    assert (host_target("x86_64"), host_target("aarch64")) == ("x86_64", "arm64")


def test_a_device_of_another_kind_is_refused_with_the_command_that_takes_it() -> None:
    accelerator = next(path for path in PATHS if path.stem == "edgetpu-like")
    for found in (lambda: find_device("edgetpu-like"), lambda: load_device(accelerator)):
        with pytest.raises(UserError) as error:
            found()
        assert str(error.value) == ("device 'edgetpu-like' is an accelerator: use mnv3c emulate; here a CPU is needed")
    assert devices("edgetpu") == () and "edgetpu-like" in {device.name for device in devices("edgetpu", Device)}
    assert find_device("cortex-a76", kind=Device) == find_device("cortex-a76")


def test_the_examples_of_the_guide_are_valid_devices() -> None:
    guide = Path(__file__).parents[2] / "docs/adding-a-target.md"
    examples = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
    examined = [device_from_document(yaml.safe_load(text), "docs/adding-a-target.md", Device) for text in examples]
    assert [type(device) for device in examined] == [CpuDevice, AcceleratorDevice]
    assert all(device.target in target_names() for device in examined)
