"""What the results show, as verdicts and sentences."""
