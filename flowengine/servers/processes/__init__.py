"""The processes of a server: a parent that binds and never speaks, and generations of workers that serve.

A generation is one configuration with its compiled flows; both never change inside a worker. A reload starts the next
generation on the same sockets, and only when all of it is ready the old one drains; when it does not get ready, the old
one goes on as if nothing had happened. Workers end when the parent is gone, however that came.
"""
