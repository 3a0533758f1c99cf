"""What a layer costs by the physics of a kind of processor: one file a kind."""
