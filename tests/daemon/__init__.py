"""The daemon's parts, with fakes around them."""
