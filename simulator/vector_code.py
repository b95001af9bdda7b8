"""Vector code that Numba cannot write by itself, as LLVM instructions.

Numba's cache of a kernel looks at the date of the kernel's own file: after a change here, touch those that
use it (`event_kernels`, `neuron_kernels`, `count_kernels`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

VECTOR_BYTES = 64
MAX_VECTORS = 4
"""Vector registers that hold accumulators; target channels per tile = vectors * lanes."""
SPIKE_BLOCK = 64
"""Channels whose spikes are found at once."""
COMPRESSES: bool = get_host_cpu_features().get("avx512vbmi2", False)
"""Whether one instruction of this processor moves the bytes of a vector that are asked for together."""

INT64 = ir.IntType(64)


def vector_code(function: Callable[..., Any]) -> Any:
    """An intrinsic of that name: ``function`` gets the types of a call, Numba's typing context first."""
    return intrinsic(function)


@vector_code
def line(typingctx, array, first, length):  # type: ignore[no-untyped-def]
    """``length`` elements of a C-contiguous array, counted through, from element ``first`` on.

    Not counted as a reference to it, as an array cut by Numba is: that costs as much as what is done at a
    place of a map.
    """
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None
    cut = types.Array(array.dtype, 1, "C")
    signature = cut(array, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = context.make_array(sig.args[0])(context, builder, args[0])
        result = context.make_array(sig.return_type)(context, builder)
        size = context.get_constant(types.intp, sig.return_type.dtype.bitwidth // 8)
        data = builder.gep(whole.data, [args[1]])
        populate_array(result, data, shape=[args[2]], strides=[size], itemsize=size, meminfo=None)
        return result._getvalue()

    return signature, codegen


@vector_code
def add_rows(  # type: ignore[no-untyped-def]
    typingctx, weights, items, total, register, vectors, places, accumulator, tile, first_item, strides, count
):
    """Add ``count`` rows of ``tile`` to ``accumulator``, in order, accumulators in registers.

    Where ``items`` holds indices of rows (unsigned), row ``items[i]`` is added as it is: an accumulate. Where
    it holds values, row i times ``items[i]`` is added: a multiply-accumulate; values of 16 bits are taken two
    at a time, from rows that stand interleaved in pairs (see `tile_weights`). Several ``places`` (a tuple;
    one of them for indices) share each row that is loaded: their accumulators and their items lie ``strides``
    (of accumulators, of items) bytes apart. ``weights``, ``items``, ``total`` (the accumulators' array) and
    ``register`` only give element types, ``vectors`` (a tuple) the number of registers of a place;
    ``accumulator``, ``tile`` and ``first_item`` are addresses. Floating point goes on from the accumulator's
    values, so that the order of additions does not depend on how rows are grouped; integers start from zero
    in the narrower type of ``register``, and are widened at the end.
    """
    weight, element, narrow = weights.dtype, total.dtype, register.dtype
    is_float = isinstance(element, types.Float)
    weight_bytes, element_bytes = weight.bitwidth // 8, element.bitwidth // 8
    item_bytes = items.dtype.bitwidth // 8
    lanes, registers = VECTOR_BYTES * 8 // narrow.bitwidth, vectors.count
    listed, paired = items.dtype in (types.uint16, types.uint32), items.dtype == types.int16
    rows_at_once = 2 if paired else 1
    several = range(places.count)
    addresses, number = (types.int64,) * 3, types.int64
    signature = types.void(weights, items, total, register, vectors, places, *addresses, strides, number)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        *_, accumulator, tile, first_item, apart, count = args
        total_apart, item_apart = (builder.extract_value(apart, k) for k in (0, 1))
        if paired:
            count = builder.lshr(builder.add(count, ir.Constant(INT64, 1)), ir.Constant(INT64, 1))
        row_bytes = ir.Constant(INT64, registers * lanes * weight_bytes * rows_at_once)
        row_type = ir.VectorType(context.get_value_type(weight), lanes * rows_at_once)
        sum_type = ir.VectorType(context.get_value_type(narrow), lanes)
        memory_type = ir.VectorType(context.get_value_type(element), lanes)
        item_type = ir.IntType(32) if paired else context.get_value_type(items.dtype)

        at, items_at = [], []
        for place in several:
            here = _beside(builder, accumulator, total_apart, place, memory_type)
            at += [builder.gep(here, [ir.Constant(INT64, k)]) for k in range(registers)]
            items_at.append(_beside(builder, first_item, item_apart, place, item_type))
        add = builder.fadd if is_float else builder.add
        if is_float:
            start = [builder.load(p, align=element_bytes) for p in at]
        else:
            start = [ir.Constant(sum_type, None)] * len(at)

        entry = builder.block
        loop = builder.append_basic_block("rows")
        done = builder.append_basic_block("done")
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(INT64, 0)), loop, after)

        builder.position_at_end(loop)
        i = builder.phi(INT64)
        sums = [builder.phi(sum_type) for _ in at]
        factors = [builder.load(builder.gep(p, [i]), align=item_bytes) for p in items_at]
        channel = builder.zext(factors[0], INT64) if listed else i
        row = builder.inttoptr(builder.add(tile, builder.mul(channel, row_bytes)), row_type.as_pointer())
        loaded = [
            builder.load(builder.gep(row, [ir.Constant(INT64, k)]), align=weight_bytes)
            for k in range(registers)
        ]
        if weight.bitwidth < narrow.bitwidth and not paired:
            loaded = [builder.sext(vector, sum_type) for vector in loaded]
        terms = []
        for item in factors:
            if listed:
                terms += loaded
            elif paired:
                terms += _pair_products(builder, loaded, item, sum_type)
            else:
                terms += _products(builder, loaded, item, sum_type, is_float)
        added = [add(total, term) for total, term in zip(sums, terms, strict=True)]
        following = builder.add(i, ir.Constant(INT64, 1))
        i.add_incoming(ir.Constant(INT64, 0), entry)
        i.add_incoming(following, loop)
        for total, first, new in zip(sums, start, added, strict=True):
            total.add_incoming(first, entry)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        for p, value in zip(at, added, strict=True):
            if not is_float:
                wide = builder.sext(value, memory_type) if narrow.bitwidth < element.bitwidth else value
                value = builder.add(builder.load(p, align=element_bytes), wide)
            builder.store(value, p, align=element_bytes)
        builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return signature, codegen


def _beside(builder: Any, address: Any, stride: Any, place: int, kind: Any) -> Any:
    """Pointer to the ``place``-th of things of a ``kind`` that lie ``stride`` bytes apart."""
    here = builder.add(address, builder.mul(stride, ir.Constant(INT64, place)))
    return builder.inttoptr(here, kind.as_pointer())


def _products(builder: Any, rows: list[Any], item: Any, sums: ir.VectorType, is_float: bool) -> list[Any]:
    """Every row times ``item``, an integer widened to the sums' type."""
    if not is_float and item.type.width < sums.element.width:
        item = builder.sext(item, sums.element)
    factor, multiply = _broadcast(builder, item, sums), builder.fmul if is_float else builder.mul
    return [multiply(factor, row) for row in rows]


def _broadcast(builder: Any, item: Any, vector: ir.VectorType) -> Any:
    """``item`` in every lane."""
    lane = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), item, ir.Constant(lane, 0))
    zeros = ir.Constant(ir.VectorType(lane, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, zeros)


def _pair_products(builder: Any, rows: list[Any], pair: Any, sums: ir.VectorType) -> list[Any]:
    """For rows interleaved in pairs: first row times the low half of ``pair``, plus second times the high.

    Written so that LLVM sees the one instruction which does just that on 16-bit numbers (pmaddwd).
    """
    half, whole = sums.count, ir.VectorType(sums.element, 2 * sums.count)
    short = ir.VectorType(ir.IntType(16), 2 * half)
    both = builder.sext(builder.bitcast(_broadcast(builder, pair, sums), short), whole)
    lanes = ir.VectorType(ir.IntType(32), half)
    even, odd = ([2 * i + k for i in range(half)] for k in (0, 1))
    products = [builder.mul(builder.sext(row, whole), both) for row in rows]
    return [
        builder.add(
            builder.shuffle_vector(p, p, ir.Constant(lanes, even)),
            builder.shuffle_vector(p, p, ir.Constant(lanes, odd)),
        )
        for p in products
    ]


@vector_code
def fetch(typingctx, address, size):  # type: ignore[no-untyped-def]
    """Ask for ``size`` bytes from ``address`` on to be brought into the cache."""
    signature = types.void(types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, size = args
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        )
        entry = builder.block
        loop = builder.append_basic_block("lines")
        done = builder.append_basic_block("fetched")
        builder.cbranch(builder.icmp_signed(">", size, ir.Constant(INT64, 0)), loop, done)
        builder.position_at_end(loop)
        offset = builder.phi(INT64)
        # read, kept in the second-level cache: the first is full of the tile in use
        kinds = [ir.Constant(flag, 0), ir.Constant(flag, 2), ir.Constant(flag, 1)]
        builder.call(prefetch, [builder.inttoptr(builder.add(address, offset), byte), *kinds])
        following = builder.add(offset, ir.Constant(INT64, 64))
        offset.add_incoming(ir.Constant(INT64, 0), entry)
        offset.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, size), loop, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@vector_code
def spiked_bits(typingctx, address):  # type: ignore[no-untyped-def]
    """Bits of the SPIKE_BLOCK bytes at ``address`` that are not 0, the first one lowest."""
    signature = types.uint64(types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), SPIKE_BLOCK)
        value = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", value, ir.Constant(vector, None)), INT64)

    return signature, codegen


@vector_code
def lowest(typingctx, bits):  # type: ignore[no-untyped-def]
    """Position of the lowest bit that is set in ``bits``, which must not be 0."""
    signature = types.uint64(types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, codegen


@vector_code
def list_block(typingctx, spikes, place, index, at):  # type: ignore[no-untyped-def]
    """``place`` + the position of each of the SPIKE_BLOCK bytes at address ``spikes`` that is not 0.

    Written to ``index`` from its element ``at`` on, SPIKE_BLOCK elements whatever there is; returns how many
    count. Lists that are filled one block after the other have the room: none is fuller than what it lists.
    """
    signature = types.int64(types.uint64, types.int64, index, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, item = ir.IntType(8), context.get_value_type(sig.args[2].dtype)
        block, items = ir.VectorType(byte, SPIKE_BLOCK), ir.VectorType(item, SPIKE_BLOCK)
        fires = ir.VectorType(ir.IntType(1), SPIKE_BLOCK)
        value = builder.load(builder.inttoptr(args[0], block.as_pointer()), align=1)
        fired = builder.icmp_unsigned("!=", value, ir.Constant(block, None))
        name = f"llvm.experimental.vector.compress.v{SPIKE_BLOCK}i8"
        kind = ir.FunctionType(block, [block, fires, block])
        compress = cgutils.get_or_insert_function(builder.module, kind, name)
        positions = ir.Constant(block, list(range(SPIKE_BLOCK)))
        found = builder.call(compress, [positions, fired, ir.Constant(block, ir.Undefined)])
        places = _broadcast(builder, builder.trunc(args[1], item), items)
        whole = context.make_array(sig.args[2])(context, builder, args[2])
        target = builder.bitcast(builder.gep(whole.data, [args[3]]), items.as_pointer())
        builder.store(builder.add(builder.zext(found, items), places), target, align=item.width // 8)
        return builder.ctpop(builder.bitcast(fired, INT64))

    return signature, codegen


@vector_code
def shifted(typingctx, total, scale):  # type: ignore[no-untyped-def]
    """``2**scale * total`` in the width of ``total``, halves rounded up; 0 for shifts of all its bits."""
    signature = total(total, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, zero = args[0].type, ir.Constant(INT64, 0)
        down = builder.icmp_signed("<", args[1], zero)
        by = builder.select(down, builder.neg(args[1]), args[1])
        all_bits = builder.icmp_signed(">=", by, ir.Constant(INT64, kind.width))
        by = builder.trunc(by, kind) if kind.width < 64 else by
        one, none = ir.Constant(kind, 1), ir.Constant(kind, 0)
        half = builder.and_(builder.ashr(args[0], builder.sub(by, one)), one)
        divided = builder.add(builder.ashr(args[0], by), half)
        scaled = builder.select(down, divided, builder.shl(args[0], by))
        return builder.select(all_bits, none, scaled)

    return signature, codegen


@vector_code
def int32_at(typingctx, address):  # type: ignore[no-untyped-def]
    """The 32-bit integer at ``address``."""
    signature = types.int64(types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()), align=4)
        return builder.sext(value, INT64)

    return signature, codegen


@vector_code
def count_bits(typingctx, bits):  # type: ignore[no-untyped-def]
    """Number of bits that are set."""
    signature = types.uint64(types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return signature, codegen
