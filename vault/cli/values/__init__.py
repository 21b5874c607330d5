"""Option values: each reader turns a text into an API value or raises `ValueError` with Docker's sentence.  Pure."""
