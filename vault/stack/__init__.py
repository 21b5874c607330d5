"""What a stack file means.  Pure, but for reading the files it names."""
