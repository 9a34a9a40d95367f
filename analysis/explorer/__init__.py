"""Interactive explorer: a local web page on the reward models of one or several runs."""
