//! The regions of a function: code that runs as a whole or not at all, if what it begins with does not run.
//!
//! WebAssembly's control flow is structured. So what stands between a place and the end of the block around it is entered at that place
//! only: where that place did not run, none of it did.

use anyhow::Context;
use wasmparser::{BlockType, FrameKind, FuncValidatorAllocations, Operator, ValidPayload, Validator, WasmFeatures};

use super::binary::Binary;

/// From an operator up to the end of the block around it, at a place where the block has no operands.
pub(crate) struct Region {
    /// The first operator, and the `end` or `else` behind the last one.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The types that a jump to each block around it has, from the inner one to the outer one, which is the function.
    pub(crate) labels: Vec<Label>,
    /// Whether the end is reached without a jump.
    pub(crate) falls_through: bool,
}

/// A block around a region.
#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) is_loop: bool,
    pub(crate) ty: BlockType,
}

/// A function with its regions in order.
pub(crate) struct Code<'a> {
    pub(crate) operators: Vec<Operator<'a>>,
    /// Where each operator begins in the binary, and where the last one ends.
    pub(crate) offsets: Vec<usize>,
    pub(crate) regions: Vec<Region>,
    /// Of all locals, parameters first.
    pub(crate) locals: Vec<wasmparser::ValType>,
    /// Of the instructions without their operands: another build's regions are the same if this is.
    pub(crate) shape: u32,
}

/// The code of all functions of a binary that are not imported.
pub(crate) fn all<'a>(bytes: &'a [u8], binary: &Binary<'a>) -> anyhow::Result<Vec<Code<'a>>> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut functions = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let ValidPayload::Func(function, body) = validator.payload(&payload?)? {
            functions.push((function, body));
        }
    }
    let mut allocations = FuncValidatorAllocations::default();
    let mut all = Vec::new();
    for ((function, body), own) in functions.into_iter().zip(&binary.bodies) {
        let mut validator = function.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let locals = (0..validator.len_locals())
            .map_while(|local| validator.get_local_type(local))
            .collect();
        let mut code = Code {
            operators: Vec::new(),
            offsets: Vec::new(),
            regions: Vec::new(),
            locals,
            shape: 0x811c_9dc5,
        };
        // The regions whose end is not reached yet, with the number of blocks around them.
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut may_begin = false;
        for item in own.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = item?;
            let index = code.operators.len();
            let depth = usize::try_from(validator.control_stack_height())?;
            let ends = matches!(operator, Operator::End | Operator::Else);
            if ends {
                let falls_through = validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable);
                while let Some(&(region, at)) = open.last().filter(|(_, at)| *at == depth) {
                    let region: &mut Region = &mut code.regions[region];
                    region.end = index;
                    region.falls_through = falls_through;
                    debug_assert_eq!(at, depth);
                    open.pop();
                }
            }
            let frame = validator
                .get_control_frame(0)
                .context("code stands behind the end of its function")?;
            let has_operands = usize::try_from(validator.operand_stack_height())? != frame.height;
            if may_begin && !ends && !frame.unreachable && !has_operands {
                let labels = (0..depth).map_while(|depth| validator.get_control_frame(depth));
                let labels = labels.map(|frame| Label {
                    is_loop: frame.kind == FrameKind::Loop,
                    ty: frame.block_type,
                });
                open.push((code.regions.len(), depth));
                code.regions.push(Region {
                    start: index,
                    end: index,
                    labels: labels.collect(),
                    falls_through: true,
                });
            }
            may_begin = ends || matches!(operator, Operator::If { .. } | Operator::BrIf { .. });
            validator.op(offset, &operator)?;
            let at = usize::try_from(offset)?;
            // FNV-1a of the first byte of each instruction.
            let opcode = bytes.get(at).copied().context("an instruction stands behind the end")?;
            code.shape = (code.shape ^ u32::from(opcode)).wrapping_mul(0x0100_0193);
            code.offsets.push(at);
            code.operators.push(operator);
        }
        code.offsets.push(usize::try_from(own.range().end)?);
        all.push(code);
        allocations = validator.into_allocations();
    }
    Ok(all)
}
