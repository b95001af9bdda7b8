"""Unit conversions, each in one place. Names carry the unit: ``_pj``, ``_ns``, ``_bits``, ``_mw``."""

from __future__ import annotations

PJ_PER_J = 1e12
PJ_PER_MJ = 1e9
PJ_PER_UJ = 1e6
NS_PER_S = 1e9
NS_PER_MS = 1e6
NS_PER_US = 1e3
PS_PER_NS = 1000
PS_PER_US = 1e6

PJ_PER_MW_NS = 1.0
"""1 mW for 1 ns is 1 pJ."""
