"""HSL: a flow's text → tree → checked → Python code. Knows nothing of mail, sockets or clocks."""
