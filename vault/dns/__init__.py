"""Names of services and tasks: a resolver at 127.0.0.11 in each task's network namespace, one process for a node.

Pure: `wire` reads queries and writes replies, `names` holds who is called what on each network, `answering` decides.
What touches the machine: `sockets` opens sockets in namespaces, `serving` answers one task, `forwarding` asks the
servers above, `nodeservers` says which those are, `kept` is the file to start again from, `control` hears vaultd,
`process` puts them together and `main` starts it, again when it was killed.  On vaultd's side: `client`,
`connection` and `redirect`.  Both ends share `messages`.
"""
