"""Judges what clients saw: linearizable key by key, nothing acknowledged lost, nothing refused there, indices forward.

Pure but for the clock that bounds a search.  `history` is what is judged, `model` says how one secret behaves,
`linearize` looks for an order, `verdict` puts it together.
"""
