"""mnv3c: MobileNetV3 hardware co-design."""
