"""The doors: SMTP, later milter, console, reports. Each translates between its protocol and a `Session`."""
