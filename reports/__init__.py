"""Joules and pictures: pricing of counts, run folders, tables and plots."""
