"""The local store of images: load, import, pull, unpack."""
