"""Clients under load that write down what they asked and what they were told, for the checker.

`http` speaks to one manager, `outcome` says what an answer means, `recorder` keeps the history, `mixed` is a load of
every operation on few secrets, `creates` one of creates only, each name once.
"""
