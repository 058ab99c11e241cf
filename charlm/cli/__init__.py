"""Words to and from a person: options into configurations, results onto standard output; nothing is computed here."""
