"""Errors a user can cause. Each message names the object, the value, the limit and the way out."""

from __future__ import annotations


class NsimError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with 2."""


class ModelFileError(NsimError):
    """A model file that cannot be read, or that holds no model nsim knows."""


class UnsupportedOpError(NsimError):
    """A traced operation that has no place in a Network."""


class ChipFileError(NsimError):
    """A chip file that breaks the schema: file, line, field, what was expected, what was found."""


class MappingError(NsimError):
    """A network that does not fit a chip: layer, rule, need, limit, way out."""


class RunError(NsimError):
    """A run that cannot start or go on: bad sampler, bad output folder."""


class TrainError(NsimError):
    """A training run that cannot start or go on."""


class QuantizeError(NsimError):
    """A network that cannot be made integer as asked."""


class BenchError(NsimError):
    """A benchmark that does not exist."""


class SweepError(NsimError):
    """A sweep that cannot be planned, started or gone on with."""
