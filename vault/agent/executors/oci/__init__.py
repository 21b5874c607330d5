"""Tasks as OCI containers: overlayfs, crun (or runc) under conmon, secrets on a tmpfs of their own.

What a container should be is decided in pure modules: `process`, `mounts`, `memory`, `limits`, `seccomp`, `bundle`.
What touches the machine blocks, and runs in threads: `rootfs`, `conmon`, `runtime`, `cgroup`, `prepare`, `removal`.
`executor` is the asynchronous shell around them and implements `vault.agent.executors.port.Executor`.
"""
