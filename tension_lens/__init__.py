"""Where helpfulness and harmlessness live in reward models, which neurons they share, and what those do."""
