"""One visit, one message, one run, one verdict. No socket and no clock: the world comes in through `services`."""
