"""What a board keeps: suites, entries, teams, the audit log."""
