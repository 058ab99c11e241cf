"""The command line: options become configurations, results go to standard output; nothing is computed here."""
