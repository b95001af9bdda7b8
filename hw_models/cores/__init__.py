"""Each chip's storage rules and integer arithmetic."""
