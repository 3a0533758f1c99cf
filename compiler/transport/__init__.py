"""Ways to run an artifact's bench: on this machine, under an emulator."""
