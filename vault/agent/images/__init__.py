"""The local store of images: load, import, pull, unpack.

| module                            | does                                                          | runs in    |
|-----------------------------------|---------------------------------------------------------------|------------|
| `store`, `index`, `image`         | which images there are; the interface for agent and API       | the daemon |
| `removal`, `reference`            | what may be removed; what a name means (pure)                 | both       |
| `child`, `protocol`, `worker`     | one process for each request that pulls, unpacks or hashes    | both       |
| `archive`, `importing`, `pulling` | the three ways in                                             | the worker |
| `registry`, `platforms`, `changes`| HTTP; which manifest is ours; `--change`                      | the worker |
| `content`, `settle`, `collect`    | blobs and layers on disk, checked and unpacked once           | the worker |
| `unpack`, `inroot`                | a layer into a directory for overlayfs, which no link leaves  | the worker |
| `tar`, `streams`                  | untrusted bytes, bounded                                      | the worker |
"""
