"""From whatever the user has to rows with known columns, and from rows to tokens."""
