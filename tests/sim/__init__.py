"""A small seeded simulator: the real deciders on simulated nodes, in virtual time, every change checked."""
