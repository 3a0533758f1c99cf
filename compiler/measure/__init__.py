"""Measuring networks and layers on devices: jobs, what runs on a device, and campaigns over many."""
