"""The second strategy of `mnv3c tune`: TVM's MetaSchedule searches, the tuner's own runner measures."""
