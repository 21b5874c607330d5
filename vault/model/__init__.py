"""Objects, states, ids and errors, in the shapes of the Docker Engine API."""
