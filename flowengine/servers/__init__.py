"""The doors: SMTP, the command line, later milter and console. A door translates and nothing more."""
