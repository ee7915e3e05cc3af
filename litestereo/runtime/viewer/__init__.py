"""Looking at results: `write_view` makes a page of one file, `RerunLog` logs for Rerun."""
