"""vaultd: every part composed once.

`main` reads options, `compose` builds the parts, `membership` makes and leaves swarms, `leader` runs the deciders,
`link` connects this node's agent, `local` shows this node to the API, `server` answers on the socket.
"""
