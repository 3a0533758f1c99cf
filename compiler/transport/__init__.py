"""Ways to run an artifact's bench: on this machine, under an emulator, on devices far away (ssh, adb, TVM's RPC)."""
