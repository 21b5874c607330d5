"""The tutorial, command by command, with `vault` in place of `docker`"""
