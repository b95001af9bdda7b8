"""Counts and time, never joules: the event engine, its golden models, events on cores, closed-form time."""
