"""The underlay of encrypted overlays: WireGuard between nodes, by the kernel or by `wireguard-go`.

`underlay` brings the machine to what was told; `plan`, `contact` and `silence` (pure) say what that is; `kernel` with
`messages`, and `process` with `uapi`, are the two kinds of devices; `links` has their addresses, routes and rules;
`probe` looks what there is.
"""
