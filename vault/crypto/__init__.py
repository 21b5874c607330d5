"""Sealing, keys, tokens and certificates.  The only package that touches primitives, in `_hazmat`."""
