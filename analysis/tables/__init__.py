"""Tables of results: scores, effects, retention, neurons."""
