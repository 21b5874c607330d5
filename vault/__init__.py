"""Vault for Swarm: a secret vault for Swarm-style clusters.

Packages, from the bottom up: `model` names things; `store` and `crypto` keep them; `network`, `tmpfs` and `rpc` touch
the machine; `orchestrator`, `scheduler` and `stack` decide (pure); `raftstore`, `dispatcher`, `agent` and `api` serve;
`cli` and `daemon` are where a person and a machine enter.  Imports point down only; `lint-imports` proves it.
"""

__version__ = "0.1.0"
