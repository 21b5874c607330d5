"""Immutable snapshots of the cluster, and the changes that lead from one to the next.  Pure."""
