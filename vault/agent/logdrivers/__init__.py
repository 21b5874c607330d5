"""Log drivers: what goes with a container's lines, and where lines go that are not only kept on the node.

`attributes` (pure) says what belongs to each line; `syslog` and `journald` make messages (pure) and carry them.
Whatever the driver, a container writes to files of this node and never waits for anybody else:
`executors.oci.shipping` reads them and sends.  A line may come twice after vaultd was restarted; none is left out while
the files reach back to it.
"""
