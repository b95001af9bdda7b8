"""What a chip is: the schema of a chip file, every number cited, the unknown kept apart from zero.

Models are frozen and strict: a text for a number, a field too many or a figure without its source is refused.
``nsim.hw_models.catalog`` reads the files and turns a refusal into a located message.
"""

from nsim.hw_models.spec.chips import (
    CHIP_MODELS,
    AnyChip,
    ChipSpec,
    ConvChip,
    CrossbarChip,
    Family,
    PoolChip,
)
from nsim.hw_models.spec.cores import (
    Arithmetic,
    ConvCore,
    Core,
    CoreCount,
    CrossbarCore,
    Noc,
    PoolCore,
    PopulationAxons,
    Structure,
    SynapseEntry,
)
from nsim.hw_models.spec.costs import (
    EVENTS,
    Barrier,
    Calibration,
    Costs,
    EventCost,
    TickedCosts,
)
from nsim.hw_models.spec.figures import (
    Choices,
    Cited,
    Count,
    Figure,
    Integer,
    KnownFigure,
    Model,
    fault,
)
from nsim.hw_models.spec.rules import (
    CostRule,
    MemoryRule,
)

__all__ = [
    "CHIP_MODELS",
    "EVENTS",
    "AnyChip",
    "Arithmetic",
    "Barrier",
    "Calibration",
    "ChipSpec",
    "Choices",
    "Cited",
    "ConvChip",
    "ConvCore",
    "Core",
    "CoreCount",
    "CostRule",
    "Costs",
    "Count",
    "CrossbarChip",
    "CrossbarCore",
    "EventCost",
    "Family",
    "Figure",
    "Integer",
    "KnownFigure",
    "MemoryRule",
    "Model",
    "Noc",
    "PoolChip",
    "PoolCore",
    "PopulationAxons",
    "Structure",
    "SynapseEntry",
    "TickedCosts",
    "fault",
]
