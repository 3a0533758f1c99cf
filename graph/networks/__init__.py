"""The networks of the MobileNetV3 paper, as data."""
