"""The page of a run: template, style and script, put into one file."""
