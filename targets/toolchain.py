"""How the programs of a target are linked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Toolchain:
    """What the cross linker, `zig cc`, has to know about a device.

    `triple` names the shared library's platform, with the oldest glibc it shall run on: `aarch64-linux-gnu.2.28`.
    `static_triple` names that of the static bench: `aarch64-linux-musl`. `cpu_flags` (`-mcpu=cortex_a76`) apply to the
    generated C only, not to the kernels, which TVM has compiled already, and not to libc, which would have to be built
    anew for every processor. With `android`, the library leaves its libc to the device's bionic.
    """

    triple: str
    static_triple: str
    cpu_flags: tuple[str, ...] = ()
    android: bool = False
