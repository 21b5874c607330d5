"""Tests of the network allocator."""
